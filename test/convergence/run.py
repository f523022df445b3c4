"""Does the final row depend on nothing but the set of events, and is it true?

Plays random lives, delivers each one's events in order and in several ways
out of order, and compares: the deliveries with each other, and each with what
the model of Stripe says.  Answers in TAP.
"""

import argparse
import collections
import concurrent.futures
import os
import sys
import time

import deliver
import shrink
from compare import compare, compare_to_truth
from deliver import Database
from lives import ACTIONS, Life, random_life
from stripe_model import NINTH
from truth import BREAKABLE, Truth

ROUND = 1000
STATUSES = ('incomplete', 'incomplete_expired', 'trialing', 'active', 'past_due', 'canceled', 'unpaid', 'paused')
LAB = 'converge_lab'


class Tap:
    def __init__(self):
        self.n = 0
        self.failed = 0

    def ok(self, passed, name):
        self.n += 1
        self.failed += not passed
        print(f'{"ok" if passed else "not ok"} {self.n} - {name}', flush=True)

    def note(self, text):
        for line in text.splitlines():
            print('# ' + line, flush=True)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bindir', required=True, help='of PostgreSQL; the server is found by PGHOST')
    parser.add_argument('--streams', type=int, default=1000)
    parser.add_argument('--seed', type=int)
    parser.add_argument('--first', type=int, default=0, help='number of the first stream')
    parser.add_argument('--break', dest='broken', choices=list(BREAKABLE), help='leave a rule out of the expectation')
    arguments = parser.parse_args()
    if arguments.seed is None:
        arguments.seed = int.from_bytes(os.urandom(3), 'big')
    return arguments


def soon():
    """Later than anything that a run does."""
    return int(time.time()) + 86400


def in_order(database, lives, seed):
    database.deliver(deliver.in_order(lives, 4), 4)


def to_worker(database, lives, seed):
    database.deliver(deliver.shuffled(lives, f'{seed} worker', 'iiis'), 8)


def to_clients(database, lives, seed):
    database.deliver(deliver.shuffled(lives, f'{seed} clients', 'is', drain=True), 8)
    database.settle(drain=True)


def at_once(database, lives, seed):
    database.put_into_inbox(deliver.shuffled(lives, f'{seed} batch', 'i'))


def in_parts(database, lives, seed):
    database.deliver_in_parts(deliver.shuffled(lives, f'{seed} parts', 'i'), f'{seed} parts')


def prices_late(database, lives, seed):
    database.deliver_at_once(deliver.shuffled(lives, f'{seed} prices', 'i'), deliver.late_prices(seed))


# Per way of delivery its database and its function.
PHASES = {
    'in order': ('converge_order', in_order),
    'shuffled, to worker and clients': ('converge_worker', to_worker),
    'shuffled, to clients that drain': ('converge_clients', to_clients),
    'shuffled, all at once': ('converge_batch', at_once),
    'shuffled, some at a time': ('converge_parts', in_parts),
    'shuffled, with prices entered late': ('converge_prices', prices_late),
}


def play_round(databases, lives, seed, truths):
    """Deliver in every way; what came of it, by phase."""
    questions = [(user, at) for truth in truths.values() for user, tiers in truth.tiers.items() for at in tiers]

    def play(phase):
        database = databases[phase]
        try:
            database.begin(lives)
            PHASES[phase][1](database, lives, seed)
            database.settle()
            return database.outcome(questions)
        except deliver.Failed as failure:
            return failure

    # They have nothing in common but the machine, which is used better so.
    with concurrent.futures.ThreadPoolExecutor(len(PHASES)) as pool:
        return dict(zip(PHASES, pool.map(play, PHASES)))


def would_notice(outcomes, lives, now):
    """In how many streams the comparison finds fault with each broken rule."""
    if not outcomes:
        return dict.fromkeys(BREAKABLE, 0)
    phase, outcome = next(iter(outcomes.items()))
    return {rule: len({stream for _, stream, _ in compare_to_truth(
        phase, outcome, {n: Truth(life, now, rule) for n, life in lives.items()})}) for rule in BREAKABLE}


def main():
    arguments = parse()
    tap = Tap()
    print(f'# seed {arguments.seed}, streams {arguments.first} to {arguments.first + arguments.streams - 1}', flush=True)
    started = time.monotonic()
    databases = {phase: Database(name, arguments.bindir) for phase, (name, _) in PHASES.items()}
    lab = Database(LAB, arguments.bindir)
    for database in (*databases.values(), lab):
        database.set_up()

    wrong = collections.defaultdict(dict)  # by kind of comparison, then by stream
    noticed = {}
    actions = collections.Counter()
    ends = collections.Counter()
    events = 0
    for first in range(arguments.first, arguments.first + arguments.streams, ROUND):
        last = min(first + ROUND, arguments.first + arguments.streams)
        lives = {n: Life(arguments.seed, n).play(random_life(arguments.seed, n)) for n in range(first, last)}
        now = soon()
        truths = {n: Truth(life, now, arguments.broken) for n, life in lives.items()}
        outcomes = play_round(databases, list(lives.values()), arguments.seed, truths)
        for phase, outcome in list(outcomes.items()):
            if isinstance(outcome, deliver.Failed):
                del outcomes[phase]
                wrong[f'{phase}: delivered'][outcome.stream()] = [str(outcome)[:2000]]
        for kind, stream, difference in compare(outcomes, truths):
            wrong[kind].setdefault(stream, []).append(difference)
        for life in lives.values():
            events += len(life.stripe.events)
            actions.update(life.done)
            ends.update(s.status for s in life.stripe.subscriptions)
        if first == arguments.first:
            noticed = would_notice(outcomes, lives, now)

    seconds = time.monotonic() - started
    tap.note(f'{arguments.streams} streams, {events} events, {seconds:.0f} s, {arguments.streams / seconds:.0f} streams/s')
    kinds = [f'{phase}: {what}' for phase in PHASES
             for what in ('delivered', 'rows are true', 'effective tiers are true')]
    kinds += [f'{phase}: {what} as in order' for phase in list(PHASES)[1:] for what in ('rows', *deliver.TABLES)]
    for kind in kinds + [kind for kind in wrong if kind not in kinds]:
        tap.ok(kind not in wrong, kind)
        for stream in sorted(wrong.get(kind, {}), key=str)[:5]:
            tap.note('\n'.join(wrong[kind][stream][:4]))
        if len(wrong.get(kind, {})) > 5:
            tap.note(f'and so on: {len(wrong[kind])} streams')
    for phase, database in databases.items():
        deadlocks = database.deadlocks()
        if PHASES[phase][1] is to_clients:
            tap.note(f'{phase}: {deadlocks} deadlocks')
        else:
            tap.ok(deadlocks == 0, f'{phase}: no deadlock')
    # Small runs need not meet everything.
    if arguments.streams >= 1000:
        for status in (*STATUSES, NINTH):
            tap.ok(ends[status] > 0, f'{ends[status]} subscriptions end {status}')
        tap.ok(all(actions[name] for name in ACTIONS), 'every action was taken')
        for rule, text in BREAKABLE.items():
            tap.ok(noticed[rule] > 0, f'would be noticed in {noticed[rule]} streams: {text}')
    failing = sorted({stream for streams in wrong.values() for stream in streams if stream is not None})
    if failing:
        tap.note(f'{len(failing)} streams fail: {failing[:20]}')
        tap.note(shrink.smallest(lab, arguments.seed, soon(), failing, arguments.broken))
    print(f'1..{tap.n}')
    for database in (*databases.values(), lab):
        database.close()
    return 1 if tap.failed else 0


if __name__ == '__main__':
    sys.exit(main())
