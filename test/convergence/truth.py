"""What must be true of the users at the end of a life.

Judged from where the model of Stripe ended, not from events: this is a second
implementation of the rules, on other data.  "broken" leaves a rule out; the
suite does that on purpose, to see that the comparison would notice.
"""

from stripe_model import PRICES, REFERENCE

RANK = {'BASIC': 0, 'PRO': 1, 'BUSINESS': 2, 'ENTERPRISE': 3}
# Of Stripe's own; a row is not given up for a status that is none of these.
STATUSES = ('incomplete', 'incomplete_expired', 'trialing', 'active', 'past_due', 'canceled', 'unpaid', 'paused')
APP_STATUS = {'active': 'ACTIVE', 'trialing': 'TRIALING', 'past_due': 'PAST_DUE', 'canceled': 'CANCELED', 'unpaid': 'CANCELED'}
NO_END = 1 << 62
FAR = 4102444800  # 2100-01-01

BREAKABLE = {
    'paid_through': 'what was never paid for counts as paid',
    'dispute': 'a disputed payment leaves the access until the period ends',
    'unpaid': 'unpaid is past due',
    'ninth_status': 'a status that nobody knows ends the access',
    'known_tier': 'an unknown price takes the tier away',
    'planned_cancel': 'a cancel planned by cancel_at alone is not shown',
    'access_class': 'the row shows the highest tier, live or not',
    'other_access': 'only the subscription in the row gives access',
    'before_the_end': 'access holds at the end, not only before it',
    'link_strength': 'client_reference_id counts like metadata',
    'oldest_link': 'the newest claim on a customer wins',
    'app_row': 'what the app gave by hand is lost when a subscription takes the row',
    'reference': 'client_reference_id counts for users who have another customer',
}


class Row:
    """The billing columns of the app's table."""

    __slots__ = ('user', 'tier', 'status', 'customer', 'subscription', 'price', 'start', 'end', 'cancel', 'newest',
                 'known')

    def until(self):
        """Access holds before this second; None: not at all."""
        if self.status in ('ACTIVE', 'TRIALING'):
            return NO_END
        return self.end if self.status in ('PAST_DUE', 'CANCELED') else None

    def access_class(self, now):
        until = self.until()
        if not self.known:
            return -1
        if until is None or until <= now:
            return 0
        return {'CANCELED': 1, 'PAST_DUE': 2}.get(self.status, 3)

    def columns(self):
        return (self.tier, self.status, self.customer, self.subscription, self.price, self.start, self.end, self.cancel)


class Truth:
    """rows: per user.  tiers: per user, the effective tier at some times."""

    def __init__(self, life, now, broken=None):
        self.now = now
        self.broken = broken
        self.rows = {}
        self.tiers = {}
        owners = self.owners(life.stripe.customers)
        for user in life.users:
            rows = [self.row(user.id, s) for s in life.stripe.subscriptions
                    if s.told and owners.get(s.customer) == user.id]
            self.judge(user, rows)

    def owners(self, customers):
        """Whose customer each of them is, if anybody's."""
        claims = {}
        for customer in customers:
            best = None
            for strength, created, user in customer.claims:
                key = (0 if self.broken == 'link_strength' else -strength,
                       -created if self.broken == 'oldest_link' else created)
                if best is None or key < best[0]:
                    best = key, strength, created, user
            if best:
                claims[customer] = best[1:]
        owners = {}
        for customer, (strength, created, user) in claims.items():
            if strength == REFERENCE and self.broken not in ('reference', 'link_strength'):
                rivals = [(other_strength, -other_created) for other_strength, other_created, other_user in claims.values()
                          if other_user == user]
                if (strength, -created) != max(rivals):
                    continue
            owners[customer] = user
        return owners

    def row(self, user, subscription):
        """What this subscription alone would show."""
        known = subscription.seen or subscription.fields
        status = known['status']
        if self.broken == 'ninth_status':
            status = subscription.status
        row = Row()
        row.user = user
        row.customer = known['customer']
        row.subscription = known['id']
        row.price = known['price']
        row.start = known['start']
        row.end = known['end']
        row.status = APP_STATUS.get(status, 'INACTIVE')
        row.known = status in STATUSES
        if self.broken == 'unpaid' and status == 'unpaid':
            row.status = 'PAST_DUE'
        row.tier = (subscription.seen_tier if subscription.seen else subscription.tier) or 'BASIC'
        if self.broken == 'known_tier':
            row.tier = PRICES[known['price']].tier or 'BASIC'
        row.cancel = known['cancel_at_period_end']
        if self.broken != 'planned_cancel':
            row.cancel = row.cancel or known['cancel_at'] is not None
        row.newest = subscription.seen_at or subscription.fields['created']
        if row.status == 'CANCELED':
            if self.broken != 'paid_through':
                row.end = min(row.end, subscription.paid_until)
            if known['reason'] == 'payment_disputed' and self.broken != 'dispute':
                row.end = min(row.end, known['ended_at'])
        return row

    def judge(self, user, rows):
        kept = user.app_row and self.app_row(user)
        if not rows:
            # nothing has taken the app's row over, if there is one
            self.rows[user.id] = kept and kept.columns()
            self.ask(user.id, [kept] if kept else [])
            return

        def order(row):
            access = 0 if self.broken == 'access_class' else row.access_class(self.now)
            return access, RANK[row.tier], row.end, row.newest, row.subscription

        chosen = max(rows, key=order)
        self.rows[user.id] = chosen.columns()
        if self.broken == 'other_access':
            rows = [chosen]
        # what the row gave becomes a grant, from now on
        if kept and kept.until() is not None and kept.until() > self.now and self.broken != 'app_row':
            rows = rows + [kept]
        self.ask(user.id, rows)

    def app_row(self, user):
        row = Row()
        row.user = user.id
        row.tier, row.status, row.customer, row.end = (getattr(user.app_row, key) for key in user.app_row.__slots__)
        row.subscription = row.price = row.start = None
        row.known = True
        row.cancel = False
        return row

    def ask(self, user, rows):
        """The effective tier now, in 2100, and around each end of access."""
        boundaries = {row.until() for row in rows} - {None, NO_END}
        # What gave access in the past is not kept, unless it is all there is.
        times = {self.now, FAR} | {end + d for end in boundaries for d in (-1, 0, 1) if end > self.now or len(rows) == 1}
        self.tiers[user] = {at: max((row.tier for row in rows if self.gives(row, at)), key=RANK.get, default='BASIC')
                            for at in times}

    def gives(self, row, at):
        until = row.until()
        if until is None:
            return False
        return at <= until if self.broken == 'before_the_end' else at < until
