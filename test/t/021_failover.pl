# A primary is killed in the middle of deliveries, and its synchronous standby
# promoted: every acknowledged event has its effect once, the worker starts by
# itself, and new events go on.
use strict;
use warnings FATAL => 'all';

use File::Temp;
use FindBin;

# Short, because the servers' sockets are there.
my $folder = File::Temp->newdir('/tmp/momento_failover_XXXXXX');

$ENV{PYTHONDONTWRITEBYTECODE} = 1;
exit(system('python3', "$FindBin::RealBin/../crash/crash.py", '--folder', $folder, '--failover', '--seed', 7) == 0 ? 0 : 1);
