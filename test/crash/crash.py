"""Does an event that was acknowledged have its effect exactly once, whoever is
killed?

Several clients deliver the events of random lives (test/convergence) out of
order and some of them twice, while processes of the server are killed at
random moments; or, with --failover, the whole of a primary, whose standby is
promoted.  At the end the database must be as the model of Stripe says, and
equal to one that got the same events in order and in peace.  Answers in TAP.
"""

import argparse
import collections
import json
import os
import random
import re
import signal
import sys
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'convergence'))

from clients import CLIENTS, Clients, make_jobs
from compare import compare
from deliver import TABLES, Database, Failed
from lives import Life, random_life
from run import Tap, in_order, soon
from server import DATABASE, POSTMASTER, VICTIMS, WORKER, Server, wait_for
from truth import Truth

ORDER = 'crash_order'
LIVES_PER_ROUND = 16
FAILOVER_LIVES = 150
LOG_LINES = 40  # to be shown after a failure

DIED = re.compile('terminated by signal (?!9:)|PANIC|TRAP')

CRASHED = "SELECT count(*) FROM momento_billing.webhook_inbox WHERE status = 'dead' AND reason = 'crashed'"
INBOX = 'SELECT event_id, id FROM momento_billing.webhook_inbox'
HISTORY = '''
SELECT json_build_array(user_id, old_tier, old_status, new_tier, new_status)
FROM momento_billing.subscription_history ORDER BY id
'''
STREAMING = "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--folder', required=True, help='for the servers; short, because their sockets are there')
    parser.add_argument('--bindir', default='', help="PostgreSQL's, if its programs are not in the path")
    parser.add_argument('--rounds', type=int, default=200, help='so many kills')
    parser.add_argument('--failover', action='store_true', help='one kill, of a whole primary')
    parser.add_argument('--seed', type=int)
    arguments = parser.parse_args()
    if arguments.seed is None:
        arguments.seed = int.from_bytes(os.urandom(3), 'big')
    return arguments


class Test:
    def __init__(self, arguments):
        self.seed = arguments.seed
        self.bindir = arguments.bindir
        self.rounds = arguments.rounds
        self.rng = random.Random(self.seed)
        self.tap = Tap()
        count = FAILOVER_LIVES if arguments.failover else self.rounds * LIVES_PER_ROUND
        self.lives = {n: Life(self.seed, n).play(random_life(self.seed, n)) for n in range(count)}
        self.clients = Clients(make_jobs(list(self.lives.values()), self.seed), self.bindir, not arguments.failover)
        self.server = Server(os.path.realpath(os.path.join(arguments.folder, 'server')), self.bindir)
        self.primary = None

    def run(self, failover):
        batch_size = self.rng.choice((20, 100, 1000))
        self.tap.note(f'{len(self.lives)} lives, {len(self.clients.jobs)} deliveries by {CLIENTS} clients, batch_size {batch_size}')
        self.server.create((DATABASE, ORDER), f'momento_billing.batch_size = {batch_size}\n')
        self.connect_to(self.server)
        database = Database(DATABASE, self.bindir)
        database.set_up()
        database.begin(self.lives.values())
        database.close()
        started = time.monotonic()
        if failover:
            self.fail_over()
        else:
            self.kill_in_rounds()
        self.clients.reach(1)
        database = Database(DATABASE, self.bindir)
        self.settle(database)
        self.tap.note(f'{self.clients.resent} deliveries were sent again; {time.monotonic() - started:.0f} s')
        self.check(database)

    def connect_to(self, *servers):
        """From now on; whoever connects finds the one that can be written to."""
        os.environ.update(PGHOST=','.join(server.folder for server in servers), PGUSER='postgres',
                          PGTARGETSESSIONATTRS='read-write')

    def kill_in_rounds(self):
        victims = VICTIMS * -(-self.rounds // len(VICTIMS))
        self.rng.shuffle(victims)
        longest = 0
        self.clients.start()
        for round, victim in enumerate(victims[:self.rounds]):
            self.clients.reach((round + self.rng.random()) / (self.rounds + 1))
            time.sleep(self.rng.uniform(0, .03))
            self.server.kill(victim, self.rng)
            if victim == POSTMASTER:
                killed = time.monotonic()
                self.server.wait_until_gone()
                longest = max(longest, time.monotonic() - killed)
                self.server.start()
            if (round + 1) % 10 == 0:
                self.tap.note(f'{round + 1} rounds, {self.clients.done} deliveries')
        kills = collections.Counter(victims[:self.rounds])
        self.tap.note('killed: ' + ', '.join(f'{victim} {n}' for victim, n in sorted(kills.items())))
        self.tap.note(f'the last process ended {longest:.2f} s after its postmaster')

    def fail_over(self):
        self.primary = self.server
        self.server = self.primary.copy(self.primary.folder + '_standby')
        database = Database(DATABASE, self.bindir)
        database.query("ALTER SYSTEM SET synchronous_standby_names = '*'")
        database.query('SELECT pg_reload_conf()')
        wait_for(lambda: database.query(STREAMING) == ['t'], 'the standby is synchronous')
        database.close()
        self.connect_to(self.primary, self.server)
        self.clients.start()
        self.clients.reach(self.rng.uniform(.3, .6))
        time.sleep(self.rng.uniform(0, .03))
        self.tap.ok(not self.server.find(WORKER), 'the standby has no worker')
        self.primary.kill_all()
        self.tap.note(f'the primary was killed after {self.clients.done} deliveries')
        self.server.promote()
        wait_for(lambda: self.server.find(WORKER), 'promoted: the worker starts')
        self.connect_to(self.server)

    def settle(self, database):
        """An event that was under way at two kills in a row is given up, for
        it may be the one that kills; that it is not, an operator says."""
        database.settle()
        while (crashed := int(database.query(CRASHED)[0])) > 0:
            self.tap.note(f"{crashed} events were 'crashed', and are replayed")
            database.query('SELECT momento_billing.replay_dead()')
            database.settle()
        wait_for(lambda: database.query('SELECT count(*) FROM momento_billing.notification') == ['0'],
                 'every change of a tier has been notified')

    def check(self, database):
        now = soon()
        truths = {n: Truth(life, now) for n, life in self.lives.items()}
        questions = [(user, at) for truth in truths.values() for user, tiers in truth.tiers.items() for at in tiers]
        order = Database(ORDER, self.bindir)
        order.set_up()
        order.begin(self.lives.values())
        in_order(order, list(self.lives.values()), self.seed)
        outcomes = {'in order': order.outcome(questions), 'with kills': database.outcome(questions)}

        inbox = [line.split('|') for line in database.query(INBOX)]
        sent = {event.id for life in self.lives.values() for event in life.stripe.events if event.kind != 'link'}
        rows = dict(inbox)
        self.report(self.clients.wrong, 'every delivery was acknowledged at last')
        self.report(sorted(sent ^ rows.keys()), f'{len(sent)} events are in the inbox')
        self.report([id for id, n in collections.Counter(id for id, _ in inbox).items() if n > 1], 'each of them once')
        self.report([f'{id}: acknowledged in row {row}, is in {rows.get(id)}'
                     for id, row in self.clients.rows.items() if rows.get(id) != row],
                    f'{len(self.clients.rows)} of them in the row that was acknowledged')
        # What the model and the rules see differently without any kill is
        # for script/converge to judge.
        differences = list(compare(outcomes, truths))
        disputed = {stream for kind, stream, _ in differences if kind.startswith('in order')}
        for stream in disputed:
            self.tap.note(f'wrong also in peace: script/converge --seed {self.seed} --first {stream} --streams 1')
        wrong = collections.defaultdict(list)
        for kind, stream, difference in differences:
            if stream not in disputed or not kind.endswith('are true'):
                wrong[kind].append(difference)
        for kind in ('with kills: rows are true', 'with kills: effective tiers are true',
                     *(f'with kills: {table} as in order' for table in ('rows', *TABLES))):
            self.report(wrong[kind], kind)
        self.report(self.broken_history(database, outcomes['with kills']['rows']), 'the history leads from row to row')
        self.report([line for server in self.servers() for line in server.log_lines() if DIED.search(line)],
                    'nobody died but by our hand')
        for database in (database, order):
            database.close()

    def broken_history(self, database, rows):
        """Each change begins where the one before it ended, and changes something."""
        states = {user.id: (user.app_row.tier, user.app_row.status)
                  for life in self.lives.values() for user in life.users if user.app_row}
        for line in database.query(HISTORY):
            user, *change = json.loads(line)
            old, new = tuple(change[:2]), tuple(change[2:])
            if old != states.get(user, (None, None)) or new == old:
                yield f'{user}: {old} to {new} after {states.get(user)}'
            states[user] = new
        for user in states.keys() | rows.keys():
            row = rows[user][:2] if user in rows else None
            if states.get(user) != row:
                yield f'{user}: {row}, the history says {states.get(user)}'

    def report(self, wrong, name):
        wrong = list(wrong)
        self.tap.ok(not wrong, name)
        self.tap.note('\n'.join(wrong[:5]))
        if len(wrong) > 5:
            self.tap.note(f'and so on: {len(wrong)}')

    def servers(self):
        return [self.server, self.primary] if self.primary else [self.server]

    def stop(self):
        for server in self.servers():
            server.stop()
        if self.primary:
            self.primary.clean_up()


def main():
    arguments = parse()
    print(f'# seed {arguments.seed}', flush=True)
    # the caller's settings must not lead us to other servers
    for name in [name for name in os.environ if name.startswith('PG')]:
        del os.environ[name]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    test = Test(arguments)
    try:
        test.run(arguments.failover)
    except Failed as failure:
        test.report([str(failure)], 'went on to the end')
    finally:
        if test.tap.failed:
            test.tap.note(''.join(test.server.log_lines()[-LOG_LINES:]))
        test.stop()
    print(f'1..{test.tap.n}', flush=True)
    return 1 if test.tap.failed else 0


if __name__ == '__main__':
    sys.exit(main())
