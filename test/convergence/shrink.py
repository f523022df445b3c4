"""From a failing stream to the smallest one that still fails.

First actions are left out of the life, which stays truthful; then deliveries.
Every try is made alone, in a database of its own.
"""

import json
import random

import deliver
from compare import compare
from deliver import way_of
from lives import Life, random_life
from shapes import render
from truth import Truth

SHUFFLES = 30
STREAMS_TRIED = 10


class Failure:
    """A life, the order of delivery in which it fails, and how."""

    def __init__(self, actions, life, deliveries, differences, way):
        self.actions = actions
        self.life = life
        self.deliveries = deliveries  # (event, payload)
        self.differences = differences
        self.way = way


class Lab:
    def __init__(self, database, seed, now, broken):
        self.database = database
        self.seed = seed
        self.now = now
        self.broken = broken

    def outcome(self, life, deliveries, way, truth):
        """What comes of these deliveries."""
        database = self.database
        database.begin([life])
        if way != 'one by one':
            late = deliver.late_prices(self.seed) if way == 'one batch, prices late' else []
            database.deliver_at_once([(way_of(event, 'i'), payload) for event, payload in deliveries], late)
        else:
            database.copy('convergence.delivery', ((n, way_of(event, 's'), payload) for n, (event, payload) in enumerate(deliveries, 1)))
            # a transaction for each
            database.query(''.join(f'SELECT convergence.deliver({n});\n' for n in range(1, len(deliveries) + 1)))
        database.check_settled()
        return database.outcome([(user, at) for user, tiers in truth.tiers.items() for at in tiers])

    def orders(self, life):
        """In order, and in a few ways out of order."""
        events = [(event, render(event, 'in order')) for event in life.stripe.events]
        yield 'one by one', events
        yield 'one batch', events
        yield 'one batch, prices late', events
        yield 'one by one', events[::-1]
        rng = random.Random(life.stream)
        for n in range(SHUFFLES):
            twice = events + [(event, render(event, 'again')) for event in life.stripe.events if rng.random() < .3]
            rng.shuffle(twice)
            yield ('one by one', 'one batch', 'one batch, prices late')[n % 3], twice

    def play(self, stream, actions):
        """The first failure of a life, or None."""
        life = Life(self.seed, stream).play(actions)
        if not life.stripe.events:
            return None
        truth = Truth(life, self.now, self.broken)
        reference = None
        for way, deliveries in self.orders(life):
            try:
                outcome = self.outcome(life, deliveries, way, truth)
            except deliver.Failed as failure:
                return Failure(actions, life, deliveries, [('refused', stream, str(failure))], way)
            reference = reference or outcome
            differences = list(compare({'in order': reference, 'then': outcome}, {stream: truth}))
            if differences:
                return Failure(actions, life, deliveries, differences, way)
        return None

    def differs_from_order(self, life, deliveries, way):
        """Do these deliveries come to something else in the events' order?"""
        truth = Truth(life, self.now, self.broken)
        order = {event: n for n, event in enumerate(life.stripe.events)}
        in_order = sorted(deliveries, key=lambda delivery: order[delivery[0]])
        try:
            outcomes = {'in order': self.outcome(life, in_order, 'one by one', truth),
                        'then': self.outcome(life, deliveries, way, truth)}
        except deliver.Failed as failure:
            return [('refused', life.stream, str(failure))]
        return [d for d in compare(outcomes, {life.stream: truth}) if d[0].endswith('as in order')]


def without(things, still_fails):
    """Leave out what can be left out: halves, quarters, and so on to one."""
    size = len(things)
    while size > 1:
        size = (size + 1) // 2
        first = 0
        while first < len(things):
            fewer = things[:first] + things[first + size:]
            if fewer and still_fails(fewer):
                things = fewer
            else:
                first += size
    return things


def smallest(database, seed, now, failing, broken):
    """A report on the smallest failing stream that is found."""
    lab = Lab(database, seed, now, broken)
    found = None
    for stream in failing[:STREAMS_TRIED]:
        failure = lab.play(stream, random_life(seed, stream))
        if failure and (found is None or len(failure.life.stripe.events) < len(found.life.stripe.events)):
            found = failure
    if found is None:
        return ('None of them fails alone, one event after the other: it takes several at once.  Play one again among others:\n'
                f'script/converge --seed {seed} --first {failing[0] - failing[0] % 6} --streams 6')
    stream = found.life.stream

    def fails(actions):
        nonlocal found
        failure = lab.play(stream, actions)
        if failure:
            found = failure
        return failure

    without(found.actions, fails)
    life, way = found.life, found.way
    if lab.differs_from_order(life, found.deliveries, way):
        found.deliveries = without(found.deliveries, lambda fewer: lab.differs_from_order(life, fewer, way))
        found.differences = lab.differs_from_order(life, found.deliveries, way)
        what = 'These deliveries come to something else than the same events in order.'
    else:
        what = 'The outcome is not what the model says.'
    return report(found, seed, what)


def report(failure, seed, what):
    life = failure.life
    begin = life.stripe.events[0].created
    lines = [f'Smallest failing life, of stream {life.stream}, seed {seed}: {", ".join(name for name, _ in failure.actions)}',
             '', f'What happened (seconds since {begin}):']
    lines += [f'  {tell(event, begin)}' for event in life.stripe.events]
    for user in life.users:
        if user.app_row:
            row = user.app_row
            lines.append(f'  before: the app has written a row of {user.id}: {row.tier} {row.status} {row.customer} until {row.end}')
    lines += ['', 'What is true:'] + [f'  {user}: {row}' for user, row in Truth(life, 0).rows.items()]
    lines += ['', f'{what}  Delivered {failure.way}:']
    lines += [f'  {tell(event, begin)}' for event, _ in failure.deliveries]
    lines += ['', 'What differs:'] + [f'  {kind}: {difference}' for kind, _, difference in failure.differences[:12]]
    lines += ['', 'The deliveries as they were:']
    lines += [payload for _, payload in failure.deliveries]
    return '\n'.join(lines)


def tell(event, begin):
    """An event in a line."""
    body = dict(event.body)
    for key in ('start', 'end', 'cancel_at', 'canceled_at', 'ended_at', 'trial_start', 'trial_end', 'created'):
        if body.get(key) is not None:
            body[key] -= begin
    keep = {
        'subscription': ('id', 'customer', 'status', 'price', 'start', 'end', 'cancel_at', 'cancel_at_period_end',
                         'ended_at', 'reason', 'user'),
        'invoice': ('subscription', 'reason', 'collection'),
        'checkout': ('mode', 'customer', 'subscription', 'paid', 'user', 'reference', 'promise'),
        'customer': ('id',),
        'link': ('customer', 'user'),
    }.get(event.kind, ())
    text = ' '.join(f'{key}={body[key]}' for key in keep if body[key] is not None and body[key] is not False)
    before = ''
    if event.before is not None:
        times = ('start', 'end', 'cancel_at', 'canceled_at', 'ended_at', 'trial_end')
        before = ' before: ' + json.dumps({key: value - begin if key in times and value is not None else value
                                           for key, value in event.before.items()})
    return f'{event.created - begin:>9} {event.id} {event.type} {text}{before}'
