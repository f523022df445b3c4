/*
 * chain.c
 *	  The order of events of one second, by what each of them found.  Pure.
 */
#include "chain.h"

/* A state, and how often it is left and reached. */
typedef struct Node
{
	const MbEvent *state;
	int			left;
	int			reached;
} Node;

/* The states that each event leads from and to, as indexes of nodes. */
typedef struct Graph
{
	Node		nodes[2 * MB_MAX_CHAIN];
	int			nnodes;
	int			from[MB_MAX_CHAIN];
	int			to[MB_MAX_CHAIN];
} Graph;

static void sort_by_id(const MbEvent **events, int n);
static int	node_of(Graph *graph, const MbEvent *state);
static MbChain find_start(const Graph *graph, int n, int *start);
static const MbEvent *before_of(const MbEvent *event);

MbChain
mb_chain_order(const MbEvent **events, int n)
{
	Graph		graph = {.nnodes = 0};
	const MbEvent *trail[MB_MAX_CHAIN];
	bool		used[MB_MAX_CHAIN] = {false};
	int			nodes[MB_MAX_CHAIN + 1];
	int			steps[MB_MAX_CHAIN + 1];
	int			depth = 1;
	int			first = n;
	MbChain		result;

	/* so that of several trails with one end the same is found every time */
	sort_by_id(events, n);
	for (int i = 0; i < n; i++)
	{
		graph.from[i] = node_of(&graph, before_of(events[i]));
		graph.to[i] = node_of(&graph, events[i]);
		graph.nodes[graph.from[i]].left++;
		graph.nodes[graph.to[i]].reached++;
	}
	result = find_start(&graph, n, &nodes[0]);
	if (result != MB_CHAIN_TRAIL)
		return result;

	/* go on while there is a way; where there is none, the trail ends so */
	while (depth > 0)
	{
		int			step = 0;

		while (step < n && (used[step] || graph.from[step] != nodes[depth - 1]))
			step++;
		if (step < n)
		{
			used[step] = true;
			steps[depth] = step;
			nodes[depth++] = graph.to[step];
		}
		else if (--depth > 0)
			trail[--first] = events[steps[depth]];
	}
	if (first > 0)
		return MB_CHAIN_NONE;
	memcpy(events, trail, n * sizeof(events[0]));
	return MB_CHAIN_TRAIL;
}

int
mb_chain_leave_out_doubles(const MbEvent **events, int n)
{
	int			left = 0;

	for (int i = 0; i < n; i++)
	{
		int			j = 0;

		while (j < left && !(mb_chain_same_state(events[i], events[j]) &&
							 mb_chain_same_state(before_of(events[i]), before_of(events[j]))))
			j++;
		if (j == left)
			events[left++] = events[i];
		else if (mb_text_cmp(events[i]->id, events[j]->id) > 0)
			events[j] = events[i];
	}
	return left;
}

bool
mb_chain_same_state(const MbEvent *a, const MbEvent *b)
{
	return mb_text_eq(a->status, b->status) && mb_text_eq(a->price_id, b->price_id) &&
		a->period_start == b->period_start && a->period_end == b->period_end &&
		a->cancel_at == b->cancel_at && a->cancel_at_period_end == b->cancel_at_period_end;
}

static void
sort_by_id(const MbEvent **events, int n)
{
	for (int i = 1; i < n; i++)
	{
		const MbEvent *event = events[i];
		int			j = i;

		for (; j > 0 && mb_text_cmp(events[j - 1]->id, event->id) > 0; j--)
			events[j] = events[j - 1];
		events[j] = event;
	}
}

static int
node_of(Graph *graph, const MbEvent *state)
{
	int			i = 0;

	while (i < graph->nnodes && !mb_chain_same_state(graph->nodes[i].state, state))
		i++;
	if (i == graph->nnodes)
		graph->nodes[graph->nnodes++] = (Node)
	{
		.state = state
	};
	return i;
}

/*
 * A trail begins where a state is left once more often than it is reached, and
 * ends where it is the reverse; all others are left as often as reached.  If
 * that holds of all, it begins where it ends: anywhere, or in the only state.
 */
static MbChain
find_start(const Graph *graph, int n, int *start)
{
	int			nstarts = 0;

	*start = 0;
	for (int i = 0; i < graph->nnodes; i++)
	{
		int			balance = graph->nodes[i].left - graph->nodes[i].reached;

		if (balance > 1 || balance < -1)
			return MB_CHAIN_NONE;
		if (balance == 1)
		{
			*start = i;
			nstarts++;
		}
	}
	if (nstarts > 1)
		return MB_CHAIN_NONE;
	if (nstarts == 1 || graph->nnodes == 1)
		return MB_CHAIN_TRAIL;

	/* separate states are no circuit either */
	for (int i = 0; i < n; i++)
		if (graph->from[i] != graph->to[i])
			return MB_CHAIN_CIRCUIT;
	return MB_CHAIN_NONE;
}

static const MbEvent *
before_of(const MbEvent *event)
{
	return event->before != NULL ? event->before : event;
}
