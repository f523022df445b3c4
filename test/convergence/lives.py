"""Random lives: what one to three users do with Stripe, action by action.

A life is a list of actions, each with a seed of its own, so that leaving one
out leaves the others as they are: that is how a failing life is made small.
An action that makes no sense where it stands does nothing.
"""

import random

from stripe_model import DAY, HOUR, LAST_SECOND, MANUAL, NINTH, OTHERS, OURS, TERMINAL, Stripe

MINUTE = 60
PERIODS_END = 1735689600  # 2025-01-01: nothing waits for the end of a long period


class User:
    def __init__(self, id):
        self.id = id
        self.customers = []
        self.app_row = None


class AppRow:
    __slots__ = ('tier', 'status', 'customer', 'end')


class Life:
    """The users, Stripe, and what happened, by name of action."""

    def __init__(self, seed, stream):
        rng = random.Random(f'{seed}/{stream}')
        self.stream = stream
        self.stripe = Stripe(stream, rng.randrange(1350000000, 1700000000))
        self.users = [User(f'user_{stream}_{n}') for n in range(rng.choice((1, 1, 1, 2, 3)))]
        self.done = []
        # Of rivals it would depend on the order whether a row was ever taken over.
        if len(self.users) == 1 and rng.random() < .2:
            self.write_app_row(rng)

    def write_app_row(self, rng):
        """A row that the app wrote itself, before there was any event."""
        user = self.users[0]
        user.app_row = AppRow()
        user.app_row.tier = rng.choice(('BASIC', 'PRO', 'BUSINESS', 'ENTERPRISE', 'ENTERPRISE'))
        user.app_row.status = rng.choice(('ACTIVE', 'ACTIVE', 'TRIALING', 'PAST_DUE', 'CANCELED', 'INACTIVE'))
        user.app_row.end = rng.choice((None, self.stripe.clock, 3786912000))
        user.app_row.customer = None
        if rng.random() < .5:
            self.stripe.rng = rng
            customer = self.stripe.new_customer()
            customer.claims.append((MANUAL, 0, user.id))
            user.customers.append(customer)
            user.app_row.customer = customer.id

    def play(self, actions):
        for name, seed in actions:
            self.rng = self.stripe.rng = random.Random(seed)
            if self.stripe.clock < LAST_SECOND - 60 * DAY and ACTIONS[name](self) is not False:
                self.done.append(name)
        return self

    def pause(self):
        """Between two actions; often none at all."""
        self.stripe.wait(self.rng.choice((0, 0, 0, 1, 1, self.rng.randrange(2, 90 * MINUTE),
                                          self.rng.randrange(DAY, 20 * DAY), self.rng.randrange(DAY, 20 * DAY))))

    def chance(self, probability):
        return self.rng.random() < probability

    def pick(self, *statuses):
        """A subscription in one of these statuses, or None."""
        found = [s for s in self.stripe.subscriptions if s.status in statuses and s.told and not s.silent]
        return self.rng.choice(found) if found else None


def random_life(seed, stream):
    """The actions of a stream, drawn as it is lived: those that made sense."""
    rng = random.Random(f'{seed}/{stream}/actions')
    life = Life(seed, stream)
    chosen = [('sign_up', f'{seed}/{stream}')]
    life.play(chosen)
    wanted = rng.randrange(3, 14)
    for n in range(4 * wanted):
        one = rng.choices(list(ACTIONS), list(WEIGHTS.values()))[0], f'{seed}/{stream}/{n}'
        before = len(life.done)
        life.play([one])
        if len(life.done) > before:
            chosen.append(one)
        if len(chosen) == wanted:
            break
    return chosen


ACTIONS = {}
WEIGHTS = {}


def action(weight):
    def register(function):
        ACTIONS[function.__name__] = function
        WEIGHTS[function.__name__] = weight
        return function
    return register


##############################################################################
# Beginnings
##############################################################################

def random_price(life):
    prices = OTHERS if life.chance(.06) else OURS
    return life.rng.choices(prices, [1 if p.count > 1 else 2 if p.interval == 'year' else 4 for p in prices])[0]


def customer_for(life, user):
    """One that the user has, or a new one."""
    old = [customer for customer in user.customers if not customer.deleted]
    if old and life.chance(.6):
        return life.rng.choice(old)
    customer = life.stripe.new_customer()
    user.customers.append(customer)
    return customer


@action(2)
def sign_up(life):
    """A purchase; also a second one beside the first, or after it."""
    user = life.rng.choice(life.users)
    life.pause()
    begin(life, user, customer_for(life, user))


@action(.5)
def rival(life):
    """Somebody else's customer is used: two users claim one customer."""
    used = [c for c in life.stripe.customers if not c.deleted]
    if len(life.users) < 2 or not used:
        return False
    life.pause()
    customer = life.rng.choice(used)
    others = [user for user in life.users if customer not in user.customers]
    if not others:
        return False
    begin(life, life.rng.choice(others), customer)


def begin(life, user, customer):
    stripe, rng = life.stripe, life.rng
    price = random_price(life)
    way = rng.choice(('both', 'both', 'session', 'subscription', 'reference', 'reference', 'api', 'late'))
    if life.chance(.02):
        way = 'nobody'
    kind = rng.choice(('first_payment', 'first_payment', 'first_payment', 'at_once', 'trial', 'trial', 'incomplete', 'async'))
    if life.chance(.01):
        kind = 'ninth'
    if kind == 'ninth':
        # What the checkout promised would be all that is known.
        way = 'api'
    if kind == 'incomplete' and way in ('both', 'session', 'reference'):
        way = 'subscription'
    on_subscription = user.id if way in ('both', 'subscription', 'api') else None
    on_session = user.id if way in ('both', 'session') else None
    reference = user.id if way == 'reference' or way in ('both', 'session') and life.chance(.5) else None
    has_session = way in ('both', 'session', 'subscription', 'reference') and kind not in ('incomplete', 'ninth')
    promise = rng.choice((None, None, ('priceId', price.id), ('tier', price.tier))) if price.tier else None

    def session(verb='completed', paid='paid'):
        if has_session:
            stripe.checkout(subscription, verb, on_session, reference, paid, promise)

    trial = rng.choice((7 * DAY, 14 * DAY, 30 * DAY, 20 * 365 * DAY)) if kind == 'trial' else 0
    status = {'trial': 'trialing', 'at_once': 'active', 'ninth': NINTH}.get(kind, 'incomplete')
    subscription = stripe.subscribe(customer, price, status, on_subscription, trial,
                                    addon=price.tier is not None and life.chance(.15), send_invoice=life.chance(.1))
    settled = 'no_payment_required' if trial else 'paid'
    session_at = rng.choice(('before', 'between', 'after', 'later'))

    if kind == 'async':
        session(paid='unpaid')
        stripe.tell(subscription, 'created')
        stripe.wait(rng.choice((0, 2, 3 * DAY)))
        if life.chance(.3):
            if has_session:
                stripe.checkout(subscription, 'async_payment_failed', on_session, reference, 'unpaid', promise)
            stripe.invoice(subscription, 'payment_failed', 'subscription_create')
            stripe.change(subscription, status='incomplete_expired', ended_at=stripe.clock)
            return
        first_payment(life, subscription)
        session('async_payment_succeeded')
        return

    if session_at == 'before':
        session(paid=settled)
        stripe.wait(rng.choice((0, 0, 1)))
    stripe.tell(subscription, 'created')
    if session_at == 'between':
        session(paid=settled)
    if kind == 'first_payment':
        stripe.wait(rng.choice((0, 0, 0, 1, 5)))
        first_payment(life, subscription)
    elif kind == 'at_once':
        stripe.invoice(subscription, 'paid', 'subscription_create')
    if session_at == 'after':
        stripe.wait(rng.choice((0, 1)))
        session(paid=settled)
    elif session_at == 'later':
        stripe.wait(rng.randrange(2, HOUR))
        session(paid=settled)


def first_payment(life, subscription):
    """incomplete -> active, with the same period."""
    if life.chance(.15):
        life.stripe.invoice(subscription, 'payment_failed', 'subscription_create')
        life.stripe.wait(life.rng.choice((1, 60)))
    life.stripe.change(subscription, status='active')
    subscription.paid_until = subscription.fields['end']
    life.stripe.invoice(subscription, life.rng.choice(('paid', 'payment_succeeded')), 'subscription_create')


@action(.6)
def pay_at_last(life):
    subscription = life.pick('incomplete')
    if not subscription:
        return False
    life.stripe.wait(life.rng.randrange(0, 22 * HOUR))
    first_payment(life, subscription)


@action(.6)
def expire(life):
    subscription = life.pick('incomplete')
    if not subscription:
        return False
    life.stripe.wait(life.rng.choice((0, 23 * HOUR)))
    life.stripe.change(subscription, life.rng.choice(('updated', 'updated', 'deleted')),
                       status='incomplete_expired', ended_at=life.stripe.clock)


@action(.8)
def link_late(life):
    """The app writes metadata.userId into a subscription that had none, or
    another user's."""
    found = [s for s in life.stripe.subscriptions if s.told and not s.silent and s.status not in TERMINAL]
    if not found:
        return False
    subscription = life.rng.choice(found)
    if subscription.fields['user'] and life.chance(.8):
        return False
    life.pause()
    life.stripe.change(subscription, user=life.rng.choice(life.users).id)


@action(.3)
def link_by_hand(life):
    """Support says whose customer it is, once and for all."""
    found = [c for c in life.stripe.customers if all(strength != MANUAL for strength, _, _ in c.claims)]
    if not found:
        return False
    life.pause()
    life.stripe.link(life.rng.choice(found), life.rng.choice(life.users).id)


##############################################################################
# Trials
##############################################################################

@action(5)
def trial_ends(life):
    subscription = life.pick('trialing')
    if not subscription or not reach(life, subscription.fields['trial_end']):
        return False
    stripe, fields = life.stripe, subscription.fields
    if life.chance(.2):
        stripe.send('customer.subscription.trial_will_end', 'subscription', dict(fields), created=stripe.clock - 3 * DAY)
    how = life.rng.choice(('paid', 'paid', 'fails', 'fails_at_once', 'pauses'))
    if how == 'pauses':
        stripe.change(subscription, status='paused')
        beside(life, subscription, 'paused')
        return
    period = {'start': fields['end'], 'end': fields['end'] + subscription.price.seconds}
    if how == 'fails_at_once':
        stripe.change(subscription, status='past_due', **period)
        if life.chance(.7):
            stripe.invoice(subscription, 'payment_failed', 'subscription_cycle')
        return
    stripe.change(subscription, status='active', **period)
    if how == 'paid':
        charge_succeeds(life, subscription)
    else:
        charge_fails(life, subscription)


@action(1)
def end_trial_now(life):
    """Often with the change of plan that it is for, in the same second."""
    subscription = life.pick('trialing')
    if not subscription:
        return False
    stripe = life.stripe
    life.pause()
    if life.chance(.4):
        change_something(life, subscription)
    stripe.change(subscription, status='active', trial_end=stripe.clock,
                  start=stripe.clock, end=stripe.clock + subscription.price.seconds)
    subscription.paid_until = subscription.fields['end']
    if life.chance(.4):
        change_something(life, subscription)
    stripe.invoice(subscription, 'paid', 'subscription_update')


@action(.5)
def move_trial_end(life):
    subscription = life.pick('trialing')
    if not subscription:
        return False
    life.pause()
    end = max(life.stripe.clock, subscription.fields['start']) + life.rng.choice((3 * DAY, 40 * DAY))
    life.stripe.change(subscription, trial_end=end, end=end)
    subscription.paid_until = end


@action(0.5)
def pause_subscription(life):
    """On request, in the middle of a paid period, which does not move."""
    subscription = life.pick('active')
    if not subscription or subscription.fields['cancel_at'] or subscription.fields['cancel_at_period_end']:
        return False
    life.pause()
    life.stripe.change(subscription, status='paused')
    beside(life, subscription, 'paused')


@action(5)
def resume(life):
    subscription = life.pick('paused')
    if not subscription:
        return False
    life.pause()
    stripe = life.stripe
    stripe.change(subscription, status='active', start=stripe.clock, end=stripe.clock + subscription.price.seconds)
    subscription.paid_until = subscription.fields['end']
    beside(life, subscription, 'resumed')
    stripe.invoice(subscription, 'paid', 'subscription_cycle')


def beside(life, subscription, verb):
    """Some changes have a type of their own, sent beside .updated."""
    if life.chance(.8):
        life.stripe.tell(subscription, verb)


##############################################################################
# Renewal, failure, recovery, dunning
##############################################################################

def reach(life, second):
    if second >= PERIODS_END:
        return False
    life.stripe.wait_until(second)
    return True


def next_period(life, subscription, **changes):
    """Stripe shows the new period about an hour before it charges for it."""
    fields = subscription.fields
    life.stripe.change(subscription, start=fields['end'], end=fields['end'] + subscription.price.seconds,
                       invoice=life.stripe.new_id('in'), **changes)


def charge_succeeds(life, subscription):
    life.stripe.wait(life.rng.choice((HOUR, HOUR, 0)))
    for verb in life.rng.choice((('paid',), ('paid', 'payment_succeeded'), ())):
        life.stripe.invoice(subscription, verb, 'subscription_cycle')
    subscription.paid_until = subscription.fields['end']


def charge_fails(life, subscription):
    stripe, rng = life.stripe, life.rng
    stripe.wait(HOUR + rng.randrange(3))
    if subscription.fields['collection'] == 'send_invoice':
        # Nothing was charged; the invoice is overdue at last.
        if life.chance(.5):
            stripe.invoice(subscription, 'payment_failed', 'subscription_cycle')
        stripe.wait(rng.choice((0, 30 * DAY)))
        stripe.change(subscription, status='past_due')
        return
    said = rng.choice(('before', 'before', 'after', 'never', 'alone'))
    prorations = rng.choice((0, 0, 1, 2))
    if life.chance(.2):
        noise(life, subscription)
    if said in ('before', 'alone'):
        stripe.invoice(subscription, 'payment_failed', 'subscription_cycle', prorations)
    if said == 'alone' and life.chance(.4):
        # The event of the change itself is never generated: all that is
        # known is the invoice.
        subscription.fields = {**subscription.fields, 'status': 'past_due'}
        subscription.seen = dict(subscription.fields)
        subscription.silent = True
        return
    stripe.wait(rng.choice((0, 0, 1)))
    if life.chance(.2):
        noise(life, subscription)
    stripe.change(subscription, status='past_due')
    if life.chance(.2):
        noise(life, subscription)
    if said == 'after':
        stripe.wait(rng.choice((0, 1)))
        stripe.invoice(subscription, 'payment_failed', 'subscription_cycle', prorations)


def renewable(life):
    subscription = life.pick('active')
    if not subscription:
        return None
    fields = subscription.fields
    if fields['cancel_at_period_end'] or fields['cancel_at'] and fields['cancel_at'] <= fields['end']:
        return None
    return subscription if reach(life, fields['end']) else None


@action(3)
def renew(life):
    subscription = renewable(life)
    if not subscription:
        return False
    next_period(life, subscription)
    charge_succeeds(life, subscription)


@action(6)
def renewal_fails(life):
    subscription = renewable(life)
    if not subscription:
        return False
    next_period(life, subscription)
    charge_fails(life, subscription)


@action(.4)
def cancel_before_charge(life):
    """Canceled between the new period's start and its charge, which is
    collected all the same."""
    subscription = renewable(life)
    if not subscription:
        return False
    next_period(life, subscription)
    life.stripe.wait(life.rng.choice((0, 20 * MINUTE)))
    life.stripe.cancel(subscription)
    charge_succeeds(life, subscription)


@action(2)
def retry_fails(life):
    subscription = life.pick('past_due')
    if not subscription:
        return False
    life.stripe.wait(life.rng.choice((2 * DAY, 4 * DAY)))
    life.stripe.invoice(subscription, 'payment_failed', 'subscription_cycle')


@action(3)
def recover(life):
    subscription = life.pick('past_due', 'unpaid')
    if not subscription:
        return False
    stripe = life.stripe
    life.pause()
    first = life.chance(.5)
    if first:
        stripe.invoice(subscription, 'paid', 'subscription_cycle')
    recovered(life, subscription)
    if not first:
        stripe.invoice(subscription, 'payment_succeeded', 'subscription_cycle')


def recovered(life, subscription):
    life.stripe.change(subscription, status='active')
    subscription.paid_until = subscription.fields['end']


@action(6)
def give_up(life):
    """The end of dunning, as the account's settings have it."""
    subscription = life.pick('past_due')
    if not subscription:
        return False
    stripe = life.stripe
    stripe.wait(life.rng.choice((1, 14 * DAY)))
    if life.chance(.5):
        stripe.invoice(subscription, 'payment_failed', 'subscription_cycle')
        stripe.wait(life.rng.choice((0, 0, 1)))
    if life.chance(.5):
        stripe.change(subscription, status='unpaid')
    else:
        stripe.cancel(subscription, 'payment_failed')


@action(4)
def roll(life):
    """Periods go on while nobody pays."""
    subscription = life.pick('unpaid', 'unpaid', 'past_due')
    if not subscription or not reach(life, subscription.fields['end']):
        return False
    next_period(life, subscription)
    if subscription.status == 'past_due' and life.chance(.5):
        life.stripe.wait(HOUR)
        life.stripe.invoice(subscription, 'payment_failed', 'subscription_cycle')


##############################################################################
# Changes of plan and other changes
##############################################################################

def other_price(life, subscription, same_length):
    old = subscription.price
    prices = OTHERS if life.chance(.08) else OURS
    found = [p for p in prices if p is not old and (not same_length or p.seconds == old.seconds)]
    return life.rng.choice(found) if found else None


def change_price(life, subscription, price):
    fields = subscription.fields
    changes = {'price': price.id}
    if not price.tier:
        changes['addon'] = None
    # Another interval begins a new period at once, and is charged at once.
    if price.seconds != subscription.price.seconds and subscription.status == 'active':
        changes.update(start=life.stripe.clock, end=life.stripe.clock + price.seconds)
        if fields['cancel_at_period_end'] and fields['cancel_at']:
            changes['cancel_at'] = changes['end']
    life.stripe.change(subscription, **changes)
    if 'end' in changes:
        subscription.paid_until = changes['end']


@action(3)
def change_plan(life):
    subscription = life.pick('active', 'trialing', 'past_due')
    price = subscription and other_price(life, subscription, subscription.status != 'active')
    if not price:
        return False
    life.pause()
    change_price(life, subscription, price)
    if life.chance(.3):
        life.stripe.invoice(subscription, 'paid', 'subscription_update')


@action(.6)
def change_plan_if_paid(life):
    """Stripe keeps the change back until it is paid for."""
    subscription = life.pick('active')
    price = subscription and other_price(life, subscription, True)
    if not price:
        return False
    stripe = life.stripe
    life.pause()
    stripe.change(subscription, pending_update=price.id)
    stripe.invoice(subscription, 'payment_failed', 'subscription_update')
    stripe.wait(life.rng.choice((0, 1, 23 * HOUR)))
    if life.chance(.5):
        stripe.change(subscription, pending_update=None)
        beside(life, subscription, 'pending_update_expired')
    else:
        changes = {} if price.tier else {'addon': None}
        stripe.change(subscription, pending_update=None, price=price.id, **changes)
        beside(life, subscription, 'pending_update_applied')


def plan_cancel(life, subscription):
    fields = subscription.fields
    how = life.rng.choice(('flag', 'flag', 'flag_and_time', 'time', 'other_time'))
    at = fields['end']
    if how == 'other_time':
        at = life.stripe.clock + life.rng.choice((5 * DAY, 90 * DAY, 20 * 365 * DAY))
    life.stripe.change(subscription, cancel_at_period_end=how.startswith('flag'),
                       cancel_at=None if how == 'flag' else at,
                       canceled_at=life.stripe.clock)


def change_something(life, subscription):
    """One change of a live subscription that no payment goes with."""
    fields = subscription.fields
    kind = life.rng.choice(('price', 'price', 'cancel', 'cancel', 'noise'))
    price = other_price(life, subscription, True) if kind == 'price' else None
    if price:
        change_price(life, subscription, price)
    elif kind == 'cancel' and (fields['cancel_at'] or fields['cancel_at_period_end']):
        life.stripe.change(subscription, cancel_at=None, cancel_at_period_end=False, canceled_at=None)
    elif kind == 'cancel':
        plan_cancel(life, subscription)
    else:
        noise(life, subscription)


def noise(life, subscription):
    """Changes that are none of our business."""
    what = life.rng.choice(('quantity', 'note', 'pause_collection', 'invoice'))
    value = {'quantity': subscription.fields['quantity'] + 1, 'note': f'{life.rng.getrandbits(20):x}',
             'pause_collection': None if subscription.fields['pause_collection'] else 'void',
             'invoice': life.stripe.new_id('in')}[what]
    life.stripe.change(subscription, **{what: value})


@action(3)
def burst(life):
    """Several updates in one second."""
    subscription = life.pick('active', 'trialing', 'past_due')
    if not subscription:
        return False
    life.pause()
    for _ in range(life.rng.choice((2, 3, 3, 4))):
        if subscription.status == 'past_due' and life.chance(.4):
            recovered(life, subscription)
        else:
            change_something(life, subscription)


@action(1)
def small_change(life):
    subscription = life.pick('active', 'trialing', 'past_due', 'unpaid', 'paused')
    if not subscription:
        return False
    life.pause()
    noise(life, subscription)


@action(.4)
def told_twice(life):
    """Stripe may make two events of one change."""
    subscription = life.pick('active', 'trialing')
    price = subscription and other_price(life, subscription, True)
    if not price:
        return False
    stripe = life.stripe
    life.pause()
    stripe.own_second(subscription)
    change_price(life, subscription, price)
    stripe.send('customer.subscription.updated', 'subscription', dict(subscription.fields), stripe.events[-1].before)
    stripe.seal(subscription)


@action(.25)
def freeze(life):
    """A status that nobody knows yet, and perhaps the way back from it."""
    subscription = life.pick('active')
    if not subscription:
        return False
    life.pause()
    life.stripe.own_second(subscription)
    life.stripe.change(subscription, status=NINTH)
    life.stripe.seal(subscription)


@action(2)
def thaw(life):
    subscription = life.pick(NINTH)
    if not subscription:
        return False
    life.pause()
    life.stripe.own_second(subscription)
    life.stripe.change(subscription, status='active')
    life.stripe.seal(subscription)
    subscription.paid_until = subscription.fields['end']


##############################################################################
# Ends
##############################################################################

@action(2.5)
def plan_to_cancel(life):
    subscription = life.pick('active', 'trialing')
    if not subscription or subscription.fields['cancel_at'] or subscription.fields['cancel_at_period_end']:
        return False
    life.pause()
    plan_cancel(life, subscription)


@action(1)
def think_again(life):
    subscription = life.pick('active', 'trialing')
    if not subscription or not (subscription.fields['cancel_at'] or subscription.fields['cancel_at_period_end']):
        return False
    life.pause()
    life.stripe.change(subscription, cancel_at=None, cancel_at_period_end=False, canceled_at=None)


@action(1.5)
def planned_end(life):
    subscription = life.pick('active', 'trialing')
    if not subscription:
        return False
    fields = subscription.fields
    at = fields['cancel_at'] or fields['cancel_at_period_end'] and fields['end']
    if not at or at > fields['end'] or not reach(life, at):
        return False
    life.stripe.cancel(subscription)


@action(2)
def cancel_now(life):
    """The end is now, the period's end in the future."""
    subscription = life.pick('active', 'trialing', 'past_due', 'unpaid', 'paused')
    if not subscription:
        return False
    life.pause()
    life.stripe.cancel(subscription)


@action(.5)
def dispute(life):
    subscription = life.pick('active')
    if not subscription:
        return False
    life.pause()
    life.stripe.cancel(subscription, 'payment_disputed')


@action(0.8)
def update_after_delete(life):
    subscription = life.pick('canceled')
    if not subscription:
        return False
    stripe = life.stripe
    if life.chance(.4):
        # written before the delete's event, though sent after it
        before = {'invoice': stripe.new_id('in')}
        stripe.send('customer.subscription.updated', 'subscription', dict(subscription.fields), before,
                    created=subscription.fields['ended_at'] - life.rng.choice((0, 1)))
        return
    life.pause()
    noise(life, subscription)


@action(6)
def failure_after_delete(life):
    """The old invoice is tried once more; the subscription is over."""
    subscription = life.pick('canceled')
    if not subscription or subscription.failed_at is None or subscription.fields['start'] < subscription.paid_until:
        return False
    life.stripe.wait(life.rng.choice((1, DAY)))
    life.stripe.invoice(subscription, 'payment_failed', 'subscription_cycle')


@action(.25)
def delete_customer(life):
    frozen = [s.customer for s in life.stripe.subscriptions if s.status == NINTH]
    found = [c for c in life.stripe.customers if not c.deleted and c not in frozen]
    if not found:
        return False
    life.pause()
    life.stripe.delete_customer(life.rng.choice(found))


##############################################################################
# What must be ignored
##############################################################################

@action(1)
def beside_the_point(life):
    stripe, rng = life.stripe, life.rng
    life.pause()
    subscription = life.pick('active', 'trialing', 'canceled', 'incomplete')
    kinds = ['thin', 'sample', 'payment', 'setup', 'upcoming', 'unhandled', 'no_subscription']
    if subscription:
        kinds += ['unpaid', 'first_fails', 'update_fails', 'manual_fails', 'announcement']
    kind = rng.choice(kinds)
    if kind == 'thin':
        stripe.send('v2.core.event', 'thin', {})
    elif kind == 'sample':
        stripe.send('customer.subscription.' + rng.choice(('created', 'updated', 'deleted')), 'sample', {})
        stripe.events[-1].id = 'evt_' + '0' * rng.randrange(14, 25)
    elif kind in ('payment', 'setup'):
        stripe.send('checkout.session.completed', 'checkout', {
            'id': stripe.new_id('cs'), 'mode': kind, 'customer': stripe.new_id('cus'), 'subscription': None,
            'paid': 'paid', 'user': rng.choice(life.users).id, 'reference': rng.choice(life.users).id, 'promise': None})
    elif kind == 'unhandled':
        stripe.send(rng.choice(('charge.succeeded', 'customer.updated', 'payment_intent.succeeded', 'price.updated')),
                    'other', {'id': stripe.new_id('obj'), 'user': rng.choice(life.users).id})
    elif kind in ('no_subscription', 'upcoming'):
        stripe.send('invoice.upcoming' if kind == 'upcoming' else 'invoice.payment_failed', 'invoice', {
            'id': None if kind == 'upcoming' else stripe.new_id('in'), 'customer': stripe.new_id('cus'),
            'subscription': None, 'reason': 'manual', 'collection': 'charge_automatically', 'lines': [],
            'user': None, 'item': None, 'start': stripe.clock})
    elif kind == 'unpaid':
        stripe.checkout(subscription, user=rng.choice(life.users).id, paid='unpaid')
    elif kind == 'announcement':
        stripe.send('customer.subscription.trial_will_end', 'subscription', dict(subscription.fields))
    elif subscription.status in ('active', 'trialing'):
        failed_at = subscription.failed_at
        reason = {'first_fails': 'subscription_create', 'update_fails': 'subscription_update',
                  'manual_fails': 'manual'}[kind]
        stripe.invoice(subscription, 'payment_failed', reason)
        subscription.failed_at = failed_at
