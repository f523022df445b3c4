"""A throwaway server, and the killing of its processes."""

import os
import re
import signal
import subprocess
import time

from deliver import Failed

DATABASE = 'crash'
SECRET = 'whsec_of_the_crash_test'
DEADLINE = 60

# What a killed process has written is in the kernel's hands: only a machine's
# own failure needs fsync.
PLACE = '''
listen_addresses = ''
unix_socket_directories = '{}'
fsync = off
'''

# The worker's nap is longer than any test: what is applied was woken for, or
# found at a start.
CONF = '''
restart_after_crash = on
synchronous_commit = remote_apply
statement_timeout = '60s'
max_wal_size = '64MB'
log_line_prefix = '%m [%p] %b %d '
shared_preload_libraries = 'momento_billing'
momento_billing.databases = 'crash'
momento_billing.webhook_secret_file = 'webhook_secret'
momento_billing.naptime = '1h'
momento_billing.retry_base = '100ms'
momento_billing.retry_max = '1s'
'''

WORKER = 'worker'
POSTMASTER = 'postmaster'
# By their titles; the postmaster's is no different from a program's.
TITLES = {
    WORKER: re.compile(f'momento_billing worker: {DATABASE}'),
    'client': re.compile(rf' {DATABASE} \[local\]'),
    'checkpointer': re.compile('checkpointer'),
}
VICTIMS = [*TITLES, POSTMASTER]


def wait_for(condition, what):
    """The first answer of the condition that is true."""
    deadline = time.monotonic() + DEADLINE
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise Failed(f'{what}: not after {DEADLINE} s')
        time.sleep(.01)
    return answer


class Server:
    """Its data, socket and log are in one folder."""

    def __init__(self, folder, bindir):
        self.folder = folder
        self.data = os.path.join(folder, 'data')
        self.log = os.path.join(folder, 'server.log')
        self.bindir = bindir
        self.postmaster = None

    def run(self, program, *arguments):
        done = subprocess.run([os.path.join(self.bindir, program), *arguments], text=True, check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise Failed(f'{program}: {done.stdout}')

    def configure(self, settings):
        with open(os.path.join(self.data, 'postgresql.conf'), 'a', encoding='ascii') as file:
            file.write(settings)

    def create(self, databases, settings):
        """A worker looks for its database when it starts, so that comes last."""
        os.makedirs(self.folder)
        self.run('initdb', '-D', self.data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync')
        self.configure(PLACE.format(self.folder))
        self.start()
        for database in databases:
            self.run('createdb', '-h', self.folder, '-U', 'postgres', database)
        secret = os.path.join(self.data, 'webhook_secret')
        with open(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), 'w', encoding='ascii') as file:
            file.write(SECRET + '\n')
        self.configure(CONF + settings)
        self.stop()
        self.start()

    def copy(self, folder):
        """A standby that streams from this one."""
        standby = Server(folder, self.bindir)
        os.makedirs(folder)
        self.run('pg_basebackup', '-D', standby.data, '-h', self.folder, '-U', 'postgres', '-R', '-c', 'fast', '--no-sync')
        standby.configure(PLACE.format(folder))
        standby.start()
        return standby

    def start(self):
        """As our child, so that a killed one is not left as a zombie: while
        there is a process of its number no other server starts."""
        with open(self.log, 'a', encoding='ascii') as log:
            self.postmaster = subprocess.Popen([os.path.join(self.bindir, 'postgres'), '-D', self.data],
                                               stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                               start_new_session=True)
        wait_for(self.is_ready, 'the server accepts connections')

    def is_ready(self):
        try:
            with open(os.path.join(self.data, 'postmaster.pid'), encoding='ascii') as file:
                lines = file.read().split('\n')
        except FileNotFoundError:
            return False
        return lines[0] == str(self.postmaster.pid) and len(lines) > 7 and lines[7].strip() in ('ready', 'standby')

    def stop(self):
        if self.postmaster:
            self.postmaster.send_signal(signal.SIGINT)
            self.postmaster.wait(DEADLINE)

    def promote(self):
        self.run('pg_ctl', '-D', self.data, '-s', '-w', '-t', str(DEADLINE), 'promote')

    # Processes

    def processes(self):
        """Titles by pid, of all that work in our data and nobody else's."""
        found = {}
        for pid in filter(str.isdigit, os.listdir('/proc')):
            try:
                if os.readlink(f'/proc/{pid}/cwd') == self.data:
                    with open(f'/proc/{pid}/cmdline', encoding='utf-8', errors='replace') as file:
                        found[int(pid)] = file.read()
            except OSError:
                pass
        return found

    def find(self, victim):
        return [pid for pid, title in self.processes().items() if TITLES[victim].search(title)]

    def kill(self, victim, rng):
        if victim == POSTMASTER:
            self.postmaster.kill()
            self.postmaster.wait()
            return
        while True:
            pid = rng.choice(wait_for(lambda: self.find(victim), f'there is a {victim}'))
            try:
                return os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                # ended by itself meanwhile
                pass

    def kill_all(self):
        """At once, the postmaster first: it would restart the others."""
        self.kill(POSTMASTER, None)
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.wait_until_gone()

    def wait_until_gone(self):
        """A server does not start while a process of its predecessor is left."""
        wait_for(lambda: not self.processes(), 'the last process has ended')

    def clean_up(self):
        """Nobody removed the killed ones' shared memory; a start does."""
        self.run('postgres', '--single', '-D', self.data, 'postgres')

    def log_lines(self):
        try:
            with open(self.log, encoding='utf-8', errors='replace') as file:
                return file.readlines()
        except FileNotFoundError:
            return []
