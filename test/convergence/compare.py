"""What differs between deliveries, and from the truth."""

# A user whose only customer turned out to be somebody else's keeps an empty
# row; one who never had any has none.  To the app's user both are the same.
NO_ROW = ('BASIC', 'INACTIVE', None, None, None, None, None, False)
COLUMNS = ('tier', 'status', 'stripeCustomerId', 'stripeSubscriptionId', 'stripePriceId', 'currentPeriodStart',
           'currentPeriodEnd', 'cancelAtPeriodEnd')


def stream_of(id):
    """Every id has its stream's number in the middle."""
    parts = id.split('_')
    return int(parts[1]) if len(parts) == 3 and parts[1].isdigit() else None


def show(expected, got):
    """The columns in which two rows differ."""
    return ', '.join(f'{name} {b!r} instead of {a!r}' for name, a, b in zip(COLUMNS, expected, got) if a != b)


def compare(outcomes, truths):
    """Yields (kind, stream, difference)."""
    reference = next(iter(outcomes.values()), None)
    for phase, outcome in outcomes.items():
        yield from compare_to_truth(phase, outcome, truths)
        if outcome is reference:
            continue
        rows, others = reference['rows'], outcome['rows']
        for user in rows.keys() | others.keys():
            a, b = rows.get(user) or NO_ROW, others.get(user) or NO_ROW
            if a != b:
                yield f'{phase}: rows as in order', stream_of(user), f'{user}: {show(a, b)}'
        for table in ('stripe_subscription', 'stripe_customer', 'other_access'):
            a, b = reference[table], outcome[table]
            for key in a.keys() | b.keys():
                if a.get(key) == b.get(key):
                    continue
                x, y = a.get(key) or {}, b.get(key) or {}
                changed = ', '.join(f'{name} {y.get(name)!r} instead of {x.get(name)!r}'
                                    for name in {**x, **y} if x.get(name) != y.get(name))
                id = key[0] if isinstance(key, tuple) else key
                yield f'{phase}: {table} as in order', stream_of(id), f'{id}: {changed}'


def compare_to_truth(phase, outcome, truths):
    known = set()
    for stream, truth in truths.items():
        known |= truth.rows.keys()
        for user, row in truth.rows.items():
            expected, got = row or NO_ROW, outcome['rows'].get(user) or NO_ROW
            if expected != got:
                yield f'{phase}: rows are true', stream, f'{user}: {show(expected, got)}'
        for user, tiers in truth.tiers.items():
            for at, tier in tiers.items():
                got = outcome['tiers'][user].get(at, tier)
                if got != tier:
                    yield f'{phase}: effective tiers are true', stream, f'{user} at {at}: {got} instead of {tier}'
    for user in outcome['rows'].keys() - known:
        yield f'{phase}: rows are true', stream_of(user), f'{user}: nobody in this run'
