"""Clients that deliver events, each until it is acknowledged.

Whose connection dies does not know whether the event was stored, and sends it
again, as Stripe does.
"""

import collections
import hashlib
import hmac
import json
import random
import re
import threading
import time

from deliver import Database, Failed, shuffled
from server import DATABASE, SECRET, wait_for

CLIENTS = 6
# Mostly received with a signature, or put into the inbox; the rest applied at once.
WAYS = 'rrrriiiis'
BURSTS = (1, 1, 2, 10, 100)
STORED = re.compile(r'(evt_\w+)\|(\d+)')


def make_jobs(lives, seed):
    """(way, payloads), out of order, a third of the events twice.  Events that
    come once are put into the inbox several at a time; of others two such
    statements could wait for each other."""
    rng = random.Random(f'{seed} bursts')
    deliveries = [(way, payload, json.loads(payload).get('id')) for way, payload in shuffled(lives, f'{seed} crash', WAYS)]
    times = collections.Counter(id for _, _, id in deliveries)
    jobs, burst, size = [], [], rng.choice(BURSTS)
    for way, payload, id in deliveries:
        if way != 'i' or times[id] > 1:
            jobs.append((way, [payload]))
            continue
        burst.append(payload)
        if len(burst) == size:
            jobs.append((way, burst))
            burst, size = [], rng.choice(BURSTS)
    if burst:
        jobs.append(('i', burst))
    return jobs


def statement(way, payloads):
    """Those that store answer the event's id and its row's."""
    if way == 'i':
        values = ', '.join(f'($json${payload}$json$)' for payload in payloads)
        # Of several, the ids are passed over by the drain: others commit first.
        linger = 'SELECT FROM pg_sleep(random() * .2);' if len(payloads) > 1 else ''
        return (f'BEGIN; INSERT INTO momento_billing.webhook_inbox (payload) VALUES {values} '
                f'ON CONFLICT (event_id) DO NOTHING RETURNING event_id, id; {linger} COMMIT')
    payload, = payloads
    if way == 'r':
        now = int(time.time())
        digest = hmac.new(SECRET.encode(), f'{now}.{payload}'.encode(), hashlib.sha256).hexdigest()
        return ('SELECT event_id, inbox_id FROM momento_billing.receive_webhook('
                f"'\\x{payload.encode().hex()}'::bytea, 't={now},v1={digest}')")
    if way == 's':
        return f'SELECT FROM momento_billing.sync_subscription_from_event($json${payload}$json$)'
    link = json.loads(payload)
    return f"SELECT FROM momento_billing.link_customer('{link['customer']}', '{link['user']}')"


class Lost(Exception):
    """The connection died; nobody knows what the server did."""


class Session(Database):
    def query(self, sql):
        try:
            return super().query(sql)
        except BrokenPipeError:
            self.close()
            self.connect()
        except Failed as failure:
            if 'ERROR:' in str(failure):
                raise
        raise Lost


class Clients:
    """Half of them do not wait for their commits to be flushed, if so told: an
    event is safe all the same once it is acknowledged."""

    def __init__(self, jobs, bindir, hasty):
        self.jobs = jobs
        self.bindir = bindir
        self.hasty = hasty
        self.lock = threading.Lock()
        self.taken = 0
        self.done = 0
        self.resent = 0
        self.rows = {}  # acknowledged: per event id its row's
        self.wrong = []

    def start(self):
        for number in range(CLIENTS):
            threading.Thread(target=self.work, args=(number,), daemon=True).start()

    def reach(self, share):
        """Wait until so large a part has been acknowledged."""
        wanted = int(share * len(self.jobs))
        while (done := self.done) < wanted:
            wait_for(lambda: self.done > done, f'more than {done} of {len(self.jobs)} deliveries are acknowledged')

    def work(self, number):
        session = Session(DATABASE, self.bindir)
        while job := self.take():
            way, payloads = job
            # link_customer() stores no event
            hasty = self.hasty and number % 2 == 0 and way != 'l'
            self.deliver(session, f"SET synchronous_commit = {'off' if hasty else 'default'}", way, payloads)
            with self.lock:
                self.done += 1
        session.close()

    def take(self):
        with self.lock:
            self.taken += 1
            return self.jobs[self.taken - 1] if self.taken <= len(self.jobs) else None

    def deliver(self, session, prepare, way, payloads):
        while True:
            try:
                answer = session.query(f'{prepare};\n{statement(way, payloads)}')
            except Lost:
                with self.lock:
                    self.resent += 1
                time.sleep(.02)
                continue
            except Failed as failure:
                self.wrong.append(f'refused: {failure}')
                return
            break
        for line in answer:
            # beside words of a server that went away right afterwards
            stored = STORED.fullmatch(line)
            if stored and self.rows.setdefault(stored[1], stored[2]) != stored[2]:
                self.wrong.append(f'{line} was acknowledged, and before that row {self.rows[stored[1]]}')
