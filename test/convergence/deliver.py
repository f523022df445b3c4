"""Delivery of events to databases, in order or not, and reading what came of it."""

import json
import os
import random
import re
import subprocess
import time

from shapes import render
from stripe_model import OURS

# A third of the events come twice, in another shape.
DUPLICATES = 1 / 3
# So many streams are under way at once.
WINDOW = 6
SETTLE_SECONDS = 60

SETUP = '''
CREATE EXTENSION momento_billing;
SELECT momento_billing.seed_plans();
SELECT momento_billing.create_subscription_table();
CREATE SCHEMA convergence;
CREATE UNLOGGED TABLE convergence.delivery (n int PRIMARY KEY, way "char", payload jsonb);
CREATE UNLOGGED TABLE convergence.delivered (n int);
CREATE UNLOGGED TABLE convergence.question (user_id text, at bigint);
CREATE FUNCTION convergence.deliver(which int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    one convergence.delivery;
BEGIN
    INSERT INTO convergence.delivered VALUES (which);
    SELECT * INTO one FROM convergence.delivery AS d WHERE d.n = which;
    IF one.way = 's' THEN
        PERFORM momento_billing.sync_subscription_from_event(one.payload);
    ELSIF one.way = 'i' THEN
        INSERT INTO momento_billing.webhook_inbox (payload) VALUES (one.payload) ON CONFLICT (event_id) DO NOTHING;
    ELSIF one.way = 'l' THEN
        RETURN momento_billing.link_customer(one.payload ->> 'customer', one.payload ->> 'user');
    ELSIF one.way = 'd' THEN
        RETURN momento_billing.drain_inbox(100);
    END IF;
    RETURN 0;
END
$$;
'''

EMPTY = '''
TRUNCATE public."Subscription", convergence.delivery, convergence.delivered, convergence.question, momento_billing.webhook_inbox,
    momento_billing.stripe_customer, momento_billing.stripe_subscription, momento_billing.other_access,
    momento_billing.tier_grant, momento_billing.subscription_history
'''

APP_ROW = '''
INSERT INTO public."Subscription" (id, "userId", tier, status, "stripeCustomerId", "currentPeriodEnd", "updatedAt")
VALUES ('{}', '{}', '{}', '{}', {}, to_timestamp({}) AT TIME ZONE 'UTC', now())
'''

UNSETTLED = '''
SELECT event_id, status, reason, last_error FROM momento_billing.webhook_inbox
WHERE status = 'pending' OR reason IN ('app_table_error', 'failed')
'''

ROWS = '''
SELECT json_build_array("userId", tier, status, "stripeCustomerId", "stripeSubscriptionId", "stripePriceId",
    extract(epoch FROM "currentPeriodStart")::bigint, extract(epoch FROM "currentPeriodEnd")::bigint, "cancelAtPeriodEnd")
FROM public."Subscription"
'''

TIERS = '''
SELECT json_build_array(user_id, at, momento_billing.effective_tier(user_id, to_timestamp(at))) FROM convergence.question
'''

# What is derived of each table may not depend on the way of delivery either.
TABLES = {
    # how old a link is at least, as it was known when the row was written
    'stripe_subscription': "SELECT to_jsonb(t) - '{tie_events,link_created}'::text[] FROM momento_billing.stripe_subscription AS t",
    # a link by hand is dated by its call
    'stripe_customer': "SELECT to_jsonb(t) - CASE link_source WHEN 'manual' THEN 'link_created' ELSE '' END"
                       ' FROM momento_billing.stripe_customer AS t',
    # a grant is numbered and dated by when it was made
    'other_access': "SELECT to_jsonb(t) - CASE source WHEN 'tier_grant' THEN '{ref,valid_from}'::text[] ELSE '{}' END"
                    ' FROM momento_billing.other_access AS t',
}


def key_of(table, row):
    if table == 'other_access':
        return row['user_id'], row.get('ref', 'grant of ' + row['tier'])
    return row['subscription_id' if table == 'stripe_subscription' else 'customer_id']


def values(prices):
    return ', '.join(f"('{p.id}', '{p.tier}', '{p.interval}', {'false' if p.count > 1 else 'true'})" for p in prices)


def late_prices(seed):
    """Those that the operator enters too late."""
    return random.Random(seed).sample(OURS, 3)


def quoted(prices):
    return ', '.join(f"'{p.id}'" for p in prices)


class Failed(Exception):
    """The database or a client refused something that must work."""

    def stream(self):
        """The stream whose ids are in the message, or None."""
        found = re.search(r'(?:user|cus|sub)_(\d+)_|evt_[0-9a-f]{10}(\d+)', str(self))
        return found and int(found[1] or found[2])


class Database:
    """One database, and a psql that stays connected to it."""

    def __init__(self, name, bindir):
        self.name = name
        self.bindir = bindir
        self.connect()

    def connect(self):
        self.psql = subprocess.Popen(
            [os.path.join(self.bindir, 'psql'), '-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-d', self.name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def query(self, sql):
        """The lines that a statement, or several, answer."""
        self.psql.stdin.write(sql.rstrip().rstrip(';') + ';\n\\echo =end=\n')
        self.psql.stdin.flush()
        lines = []
        for line in self.psql.stdout:
            line = line.rstrip('\n')
            if line == '=end=':
                return lines
            lines.append(line)
        # psql is gone with the error
        self.close()
        self.connect()
        raise Failed(f'{self.name}: ' + '\n'.join(lines[-20:]))

    def copy(self, table, rows):
        """Rows of texts and numbers."""
        write = self.psql.stdin.write
        write(f'COPY {table} FROM STDIN;\n')
        for row in rows:
            write('\t'.join([str(value).replace('\\', '\\\\') for value in row]) + '\n')
        write('\\.\n')
        self.query('SELECT 1')

    def set_up(self):
        self.query(SETUP)
        self.enter_prices(OURS)

    def begin(self, lives):
        """Nothing but the rows that the app had written."""
        self.query(EMPTY)
        for user in (user for life in lives for user in life.users if user.app_row):
            row = user.app_row
            customer = f"'{row.customer}'" if row.customer else 'NULL'
            self.query(APP_ROW.format(user.id, user.id, row.tier, row.status, customer, row.end or 'NULL'))

    def close(self):
        try:
            self.psql.stdin.close()
        except BrokenPipeError:
            pass
        self.psql.stdout.close()
        self.psql.wait()

    # Delivery

    def deliver(self, deliveries, clients):
        """By so many clients at once; retries are the client's, as an app's."""
        self.copy('convergence.delivery', ((n, way, payload) for n, (way, payload) in enumerate(deliveries, 1)))
        self.query('VACUUM ANALYZE convergence.delivery')
        script = f'\\set i :i + 1\n\\set n :i * {clients} + :client_id + 1\nSELECT convergence.deliver(:n);\n'
        done = subprocess.run(
            [os.path.join(self.bindir, 'pgbench'), '-n', '-M', 'prepared', '-c', str(clients), '-j', '1', '-D', 'i=-1',
             '-t', str(-(-len(deliveries) // clients)), '--max-tries=1000', '-f', '/dev/stdin', self.name],
            input=script, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0 or 'number of failed transactions: 0 ' not in done.stdout:
            raise Failed(f'{self.name}: pgbench\n{done.stdout}')
        # pgbench does not put its variables back when it tries again, so it
        # goes on with the next delivery.
        self.query('SELECT convergence.deliver(n) FROM (SELECT n FROM convergence.delivery '
                   'EXCEPT SELECT n FROM convergence.delivered ORDER BY n) AS missed')

    def put_into_inbox(self, deliveries):
        """All of it is there before anybody looks at it."""
        self.copy('convergence.delivery', ((n, way, payload) for n, (way, payload) in enumerate(deliveries, 1)))
        self.query('INSERT INTO momento_billing.webhook_inbox (payload) '
                   "SELECT payload FROM convergence.delivery WHERE way = 'i' ORDER BY n ON CONFLICT (event_id) DO NOTHING")
        self.query("SELECT convergence.deliver(n) FROM convergence.delivery WHERE way = 'l'")

    def deliver_at_once(self, deliveries, late=()):
        """In as few batches as the drain makes of it.  Late prices are entered
        when all has been applied."""
        if late:
            self.query(f"DELETE FROM momento_billing.price WHERE price_id IN ({quoted(late)})")
        self.put_into_inbox(deliveries)
        self.settle(drain=True)
        if late:
            self.enter_prices(late)
            self.settle(drain=True)

    def deliver_in_parts(self, deliveries, salt):
        """In batches that take up several events of a stream, and meet what
        earlier ones have left."""
        rng = random.Random(salt)
        first = 0
        while first < len(deliveries):
            last = first + rng.randint(1, 40)
            self.query('TRUNCATE convergence.delivery')
            self.deliver_at_once(deliveries[first:last])
            first = last

    def enter_prices(self, prices):
        self.query(f'INSERT INTO momento_billing.price (price_id, tier, billing_interval, active) VALUES {values(prices)}')

    def settle(self, drain=False):
        """Until no event is pending, nor refused by the app's table."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            if drain:
                self.query('SELECT momento_billing.drain_inbox()')
            pending = self.query(UNSETTLED)
            if not pending:
                return
            if time.monotonic() > deadline:
                raise Failed(f'{self.name}: not settled:\n' + '\n'.join(pending[:20]))
            time.sleep(.02)

    def check_settled(self):
        """Nothing was refused, where nobody would try again."""
        refused = self.query(UNSETTLED)
        if refused:
            raise Failed(f'{self.name}: refused:\n' + '\n'.join(refused[:20]))

    def deadlocks(self):
        return int(self.query('SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()')[0])

    # Reading

    def outcome(self, questions):
        """What the database holds and answers."""
        self.query('TRUNCATE convergence.question')
        self.copy('convergence.question', questions)
        result = {'rows': {}, 'tiers': {}}
        for line in self.query(ROWS):
            user, *columns = json.loads(line)
            result['rows'][user] = tuple(columns)
        for line in self.query(TIERS):
            user, at, tier = json.loads(line)
            result['tiers'].setdefault(user, {})[at] = tier
        for table, sql in TABLES.items():
            rows = [json.loads(line) for line in self.query(sql)]
            result[table] = {key_of(table, row): row for row in rows}
        return result


##############################################################################
# Orders of delivery
##############################################################################

def delivery(way, event, salt):
    """(way, payload).  s: a client applies it at once; i: it is put into the
    inbox; l: somebody links a customer by hand."""
    return way_of(event, way), render(event, salt)


def way_of(event, way):
    return 'l' if event.kind == 'link' else way


def in_order(lives, clients):
    """As it happened; a client takes a stream from its beginning to its end."""
    queues = [[] for _ in range(clients)]
    for n, life in enumerate(lives):
        queues[n % clients] += [delivery('s', event, 'in order') for event in life.stripe.events]
    longest = max(map(len, queues))
    nothing = ('-', '{}')
    return [queue[k] if k < len(queue) else nothing for k in range(longest) for queue in queues]


# Now and then a client drains.
DRAIN = ('d', '{}')
DRAIN_EVERY = 60


def shuffled(lives, salt, ways, drain=False):
    """In any order, some twice, each by any of the ways."""
    rng = random.Random(salt)
    result = []
    for first in range(0, len(lives), WINDOW):
        window = []
        for life in lives[first:first + WINDOW]:
            for event in life.stripe.events:
                window.append(delivery(rng.choice(ways), event, salt))
                if rng.random() < DUPLICATES:
                    window.append(delivery(rng.choice(ways), event, salt + ' again'))
        if drain:
            window += [DRAIN] * (len(window) // DRAIN_EVERY + 1)
        rng.shuffle(window)
        result += window
    return result
