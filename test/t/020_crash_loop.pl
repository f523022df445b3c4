# Ten kills in the middle of deliveries, of worker, clients, checkpointer and
# postmaster: every acknowledged event has its effect once.  script/crashtest
# does the same for as long as one likes.
use strict;
use warnings FATAL => 'all';

use File::Temp;
use FindBin;

# Short, because the server's socket is there.
my $folder = File::Temp->newdir('/tmp/momento_crash_XXXXXX');

$ENV{PYTHONDONTWRITEBYTECODE} = 1;
exit(system('python3', "$FindBin::RealBin/../crash/crash.py", '--folder', $folder, '--rounds', 10, '--seed', 7) == 0 ? 0 : 1);
