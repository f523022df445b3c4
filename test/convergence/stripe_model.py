"""A model of Stripe: customers, subscriptions, a clock in seconds, and the
events that Stripe would send about them, in no API version's shape.

The model keeps beside each subscription what no event says outright and what
truth.py judges by: until when was it really paid for?
"""

DAY = 86400
HOUR = 3600

# A life ends before this second and no period of months or years that begins
# in it ends much later; long periods end after 2032.  So no boundary comes to
# pass between two readings of one run, whenever the run is.
LAST_SECOND = 1748736000  # 2025-06-01


class Price:
    def __init__(self, id, tier, interval, count):
        self.id = id
        self.tier = tier  # None: of another product on the same account
        self.interval = interval
        self.count = count
        self.seconds = count * DAY * (30 if interval == 'month' else 365)


PRICES = {price.id: price for price in (
    Price('price_pro_month', 'PRO', 'month', 1),
    Price('price_pro_year', 'PRO', 'year', 1),
    Price('price_pro_long', 'PRO', 'year', 20),
    Price('price_business_month', 'BUSINESS', 'month', 1),
    Price('price_business_year', 'BUSINESS', 'year', 1),
    Price('price_business_long', 'BUSINESS', 'year', 20),
    Price('price_enterprise_long', 'ENTERPRISE', 'year', 20),
    Price('price_print_month', None, 'month', 1),
    Price('price_print_year', None, 'year', 1),
)}
OURS = [price for price in PRICES.values() if price.tier]
OTHERS = [price for price in PRICES.values() if not price.tier]

# An add-on of another product, an item beside the plan's.
ADD_ON = 'price_storage_year'
PRICES[ADD_ON] = Price(ADD_ON, None, 'year', 1)

TERMINAL = ('canceled', 'incomplete_expired')
NINTH = 'frozen'  # a status that Stripe has not invented yet

# Strength of a claim on a customer.
REFERENCE, METADATA, MANUAL = 1, 2, 3


def status_class(status):
    """Events of one second are ordered within such a class."""
    if status in TERMINAL:
        return 'terminal'
    return status if status in ('incomplete', NINTH) else 'normal'


class Customer:
    def __init__(self, id):
        self.id = id
        self.deleted = False
        self.claims = []  # (strength, created, user)


class Subscription:
    """fields is what Stripe shows; the rest is what the model knows."""

    def __init__(self, customer, fields):
        self.customer = customer
        self.fields = fields
        self.tier = PRICES[fields['price']].tier  # of the last price of ours
        self.paid_until = None
        self.seen = None  # the fields as of the last status that has a meaning
        self.seen_tier = None
        self.seen_at = None
        self.told = False  # an event of it was sent
        self.silent = False  # no event of it is sent any more
        self.events_at = None  # the second of its last event
        self.sealed = None  # a second in which no other event may follow
        self.failed_at = None  # the second of its last failed payment
        # The updates of one second and class: where they began, whether they
        # led anywhere.
        self.second = None
        self.second_start = None
        self.second_moved = False

    @property
    def status(self):
        return self.fields['status']

    @property
    def price(self):
        return PRICES[self.fields['price']]


class Event:
    __slots__ = ('id', 'type', 'kind', 'created', 'body', 'before')

    def __init__(self, id, type, kind, created, body, before):
        self.id = id
        self.type = type
        self.kind = kind
        self.created = created
        self.body = body  # a copy: what was true then
        self.before = before  # what an update replaced, or None


def ordered_state(fields):
    """The part of a subscription by which updates of one second are chained."""
    return tuple(fields[key] for key in (
        'status', 'price', 'start', 'end', 'cancel_at', 'cancel_at_period_end'))


class Stripe:
    def __init__(self, stream, clock):
        self.stream = stream
        self.clock = clock
        self.rng = None  # the current action's
        self.events = []
        self.customers = []
        self.subscriptions = []

    def new_id(self, prefix):
        """The stream's number keeps the streams of a run apart."""
        return f'{prefix}_{self.stream}_{self.rng.getrandbits(48):012x}'

    def wait(self, seconds):
        self.clock += seconds

    def wait_until(self, second):
        self.clock = max(self.clock, second)

    def send(self, type, kind, body, before=None, created=None):
        # Random at the front: the ids' order says nothing of time.
        id = f'evt_{self.rng.getrandbits(40):010x}{self.stream}'
        event = Event(id, type, kind, self.clock if created is None else created, body, before)
        self.events.append(event)
        return event

    # Customers

    def new_customer(self):
        customer = Customer(self.new_id('cus'))
        self.customers.append(customer)
        return customer

    def delete_customer(self, customer):
        for subscription in self.subscriptions:
            if subscription.customer is not customer or subscription.status in TERMINAL or subscription.silent:
                continue
            if subscription.status == 'incomplete':
                self.change(subscription, 'deleted', status='incomplete_expired', ended_at=self.clock)
            else:
                self.cancel(subscription)
        customer.deleted = True
        self.send('customer.deleted', 'customer', {'id': customer.id})

    def claim(self, customer, user, strength):
        """Called before an event that carries the claim: two claims of one
        second that contradict each other nobody could order."""
        if user is None:
            return
        while any(other[0] == strength and other[1] == self.clock and
                  (other[2] != user if owner is customer else strength == REFERENCE and other[2] == user)
                  for owner in self.customers for other in owner.claims):
            self.clock += 1
        customer.claims.append((strength, self.clock, user))

    def link(self, customer, user):
        """link_customer(), which is no event of Stripe's, but is delivered
        like one: in any order, and perhaps twice."""
        customer.claims.append((MANUAL, self.clock, user))
        self.send('link_customer', 'link', {'customer': customer.id, 'user': user})

    # Subscriptions

    def subscribe(self, customer, price, status, user, trial=0, addon=False, send_invoice=False):
        """A subscription as it begins; its event is tell()'s."""
        start = self.clock
        end = start + (trial or price.seconds)
        subscription = Subscription(customer, {
            'id': self.new_id('sub'), 'item': self.new_id('si'), 'customer': customer.id, 'created': start,
            'status': status, 'price': price.id, 'start': start, 'end': end, 'quantity': 1,
            'addon': self.new_id('si') if addon else None, 'user': user,
            'cancel_at': None, 'cancel_at_period_end': False, 'canceled_at': None, 'ended_at': None, 'reason': None,
            'trial_start': start if trial else None, 'trial_end': end if trial else None,
            'collection': 'send_invoice' if send_invoice else 'charge_automatically',
            'invoice': self.new_id('in'), 'note': None, 'pause_collection': None, 'pending_update': None,
        })
        if status in ('active', 'trialing'):
            subscription.paid_until = end
        self.subscriptions.append(subscription)
        return subscription

    def tell(self, subscription, verb, before=None):
        """Send customer.subscription.VERB with the subscription as it is."""
        if subscription.sealed == self.clock:
            self.clock += 1
        self.claim(subscription.customer, subscription.fields['user'], METADATA)
        self._remember(subscription)
        self.send('customer.subscription.' + verb, 'subscription', dict(subscription.fields), before)

    def change(self, subscription, verb='updated', **changes):
        fields = subscription.fields
        after = {**fields, **changes}
        if subscription.sealed == self.clock:
            self.clock += 1
        # Active again in the very second of a failed charge: nobody could
        # say which came last.
        if after['status'] == 'active' and fields['status'] != 'active' and subscription.failed_at == self.clock:
            self.clock += 1
        self.claim(subscription.customer, after['user'], METADATA)
        if verb == 'updated':
            self._avoid_circle(subscription, after)
        before = {key: fields[key] for key in changes if fields[key] != changes[key]}
        subscription.fields = after
        if subscription.price.tier:
            subscription.tier = subscription.price.tier
        self._remember(subscription)
        self.send('customer.subscription.' + verb, 'subscription', dict(after), before if verb == 'updated' else None)

    def seal(self, subscription):
        """Nothing else happens to it in this second."""
        subscription.sealed = self.clock

    def own_second(self, subscription):
        if subscription.events_at == self.clock:
            self.clock += 1

    def cancel(self, subscription, reason='cancellation_requested'):
        self.change(subscription, 'deleted', status='canceled', ended_at=self.clock, reason=reason,
                    canceled_at=subscription.fields['canceled_at'] or self.clock)

    def _remember(self, subscription):
        subscription.told = True
        subscription.events_at = self.clock
        if subscription.status != NINTH:
            subscription.seen = dict(subscription.fields)
            subscription.seen_tier = subscription.tier
            subscription.seen_at = self.clock

    def _avoid_circle(self, subscription, after):
        """Updates of one second that lead back to where they began have no
        end that could be told: the last one comes a second later."""
        def group():
            return status_class(after['status']), self.clock

        if subscription.second == group() and subscription.second_moved and \
                ordered_state(after) == subscription.second_start:
            self.clock += 1
        if subscription.second != group():
            subscription.second = group()
            subscription.second_start = ordered_state(subscription.fields)
            subscription.second_moved = False
        if ordered_state(after) != ordered_state(subscription.fields):
            subscription.second_moved = True

    # Invoices and checkouts

    def invoice(self, subscription, verb, reason, prorations=0):
        """Send invoice.VERB for the subscription's current period."""
        fields = subscription.fields
        lines = [(fields['price'], fields['start'], fields['end'], False)]
        # Prorations of the period before; of a price that is not ours the
        # failed period is read from all lines, and these would widen it.
        if subscription.price.tier:
            lines += [(fields['price'], fields['start'] - DAY, fields['start'], True)] * prorations
            if fields['addon']:
                lines.append((ADD_ON, fields['start'], fields['start'] + 365 * DAY, False))
            self.rng.shuffle(lines)
        if verb == 'payment_failed':
            subscription.failed_at = self.clock
        self.send('invoice.' + verb, 'invoice', {
            'id': self.new_id('in') if reason == 'manual' else fields['invoice'], 'customer': fields['customer'],
            'subscription': fields['id'], 'reason': reason, 'collection': fields['collection'], 'lines': lines,
            'user': fields['user'], 'item': fields['item'], 'start': fields['start']})

    def checkout(self, subscription, verb='completed', user=None, reference=None, paid='paid', promise=None):
        """Send checkout.session.VERB.  A claim counts once it is settled."""
        if paid != 'unpaid':
            self.claim(subscription.customer, user, METADATA)
            self.claim(subscription.customer, reference, REFERENCE)
        fields = subscription.fields
        self.send('checkout.session.' + verb, 'checkout', {
            'id': self.new_id('cs'), 'mode': 'subscription', 'customer': fields['customer'],
            'subscription': fields['id'], 'paid': paid, 'user': user, 'reference': reference, 'promise': promise})
