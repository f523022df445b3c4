# ALTER EXTENSION UPDATE: from every version there is to what a fresh install
# makes; beneath a running worker; and SQL that is older or newer than the
# library.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use File::Copy;
use File::Path qw(make_path);
use Momento;
use PostgreSQL::Test::Utils;
use Test::More;

# A PostgreSQL of our own, into which other versions can be put: PostgreSQL
# finds its files relative to its programs.
my %system;
my $tree = PostgreSQL::Test::Utils::tempdir;
foreach my $name ('bindir', 'pkglibdir', 'sharedir')
{
	chomp($system{$name} = `pg_config --$name`);
	make_path($tree . $system{$name});
	system_or_bail('cp', ($name eq 'bindir' ? '-r' : '-rs'), "$system{$name}/.", $tree . $system{$name});
}
$ENV{PATH} = "$tree$system{bindir}:$ENV{PATH}";

# The versions: as they are; and three that are made here.  "old" is today's,
# under a lower number; what the default version has beside it comes by a
# step.  In "careless" the step forgets something.  "newer" is newer than any
# library.
my ($old, $careless, $newer) = ('0.0.0', '0.0.1', '9999.0');
my $folder = "$tree$system{sharedir}/extension";
my $control = slurp_file("$folder/momento_billing.control");
my ($default) = $control =~ /^default_version = '(.*)'$/m;
my $script = slurp_file("$folder/momento_billing--$default.sql");
my $revoke = 'REVOKE ALL ON FUNCTION momento_billing.added() FROM PUBLIC;';
my $step = <<"SQL";
ALTER TABLE momento_billing.webhook_inbox ADD added int NOT NULL DEFAULT 7;
COMMENT ON COLUMN momento_billing.webhook_inbox.added IS 'comes with a step';
CREATE TABLE momento_billing.added_table (added int PRIMARY KEY);
SELECT pg_catalog.pg_extension_config_dump('momento_billing.added_table', '');
CREATE FUNCTION momento_billing.added() RETURNS int LANGUAGE sql STABLE AS 'SELECT pg_catalog.max(added) FROM momento_billing.webhook_inbox';
$revoke
SQL

# Files there are links to the real ones: replaced, never written to.
sub put
{
	my ($name, $content) = @_;

	unlink("$folder/$name");
	write_file("$folder/$name", $content, 0644);
}

sub default_version
{
	my ($version) = @_;

	put('momento_billing.control', $control =~ s/^default_version = .*$/default_version = '$version'/mr);
}

my $node = new_server('upgrade', ['app'], "momento_billing.naptime = '100ms'\n");

# Everything that the extension consists of, in full: columns in their order,
# code, indexes, triggers, rights, comments, and what of it is dumped.
sub description
{
	my ($database) = @_;
	my ($dump, $errors) = run_command([ 'pg_dump', '--binary-upgrade', '--schema-only', '-d', $node->connstr($database) ]);

	die "pg_dump failed: $errors" if $errors;
	$dump =~ s/^-- (Dumped|Started|Completed).*\n|^\\(un)?restrict .*\n//mg;

	# numbers of this database's own, and the tables that are dumped, which
	# follow by name
	$dump =~ s/^SELECT pg_catalog\.binary_upgrade_(set_next|create_empty).*\n|^SET relfrozenxid.*\n|^WHERE oid = '\d+'.*\n//mg;
	return [ split(/\n/, $dump . $node->safe_psql($database, <<'SQL')) ];
SELECT string_agg(format('%s %L', t::regclass, c), ', ' ORDER BY t::regclass::text)
FROM pg_extension, unnest(extconfig, extcondition) AS u (t, c) WHERE extname = 'momento_billing'
SQL
}

sub install
{
	my ($version) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE \"$version\"");
	$node->safe_psql($version, "CREATE EXTENSION momento_billing VERSION '$version'");
	return description($version);
}

# From each version on which users may be
my $fresh = install($default);
cmp_ok(scalar @$fresh, '>', 1000, 'a description says much');
my @versions = split(/\n/, $node->safe_psql('postgres', <<"SQL"));
SELECT a.version FROM pg_available_extension_versions AS a
JOIN pg_extension_update_paths('momento_billing') AS p ON p.source = a.version AND p.target = '$default' AND p.path IS NOT NULL
WHERE a.name = 'momento_billing' AND a.version <> '$default'
SQL
note('released before: ' . join(', ', @versions));
sub walk
{
	my ($from, $to) = @_;
	my $database = "$from to $to";

	$node->safe_psql('postgres', qq(CREATE DATABASE "$database"));
	$node->safe_psql($database, "CREATE EXTENSION momento_billing VERSION '$from'; ALTER EXTENSION momento_billing UPDATE TO '$to'");
	return description($database);
}

is_deeply(walk($_, $default), $fresh, "from $_ to $default: what a fresh install makes") foreach @versions;

# Versions made here
put("momento_billing--$old.sql", $script);
put("momento_billing--$default.sql", $script . $step);
put("momento_billing--$old--$default.sql", $step);
put("momento_billing--$careless.sql", $script . $step);
put("momento_billing--$old--$careless.sql", $step =~ s/\Q$revoke\E//r);
put("momento_billing--$newer.sql", $script . $step);
put("momento_billing--$default--$newer.sql", '-- nothing');
put("momento_billing--$newer--$default.sql", '-- nothing');
default_version($old);
$node->safe_psql('postgres', qq(DROP DATABASE "$default"));
is_deeply(walk($old, $default), install($default), 'a step makes what a fresh install makes');
isnt(join("\n", @{ walk($old, $careless) }), join("\n", @{ install($careless) }), 'one that forgets a REVOKE does not');

# Old SQL with the library of today, and the update beneath the worker
set_up($node, 'app');
is($node->safe_psql('app', "SELECT extversion FROM pg_extension WHERE extname = 'momento_billing'"), $old, 'the old version is installed');
$node->safe_psql('app', <<'SQL');
CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.001); RETURN NEW; END $$;
CREATE TRIGGER linger BEFORE INSERT OR UPDATE ON "Subscription" FOR EACH ROW EXECUTE FUNCTION linger();
SQL
settings($node, 'momento_billing.batch_size' => 50);

# 500 events of a round, of as many users
sub insert_events
{
	my ($round) = @_;

	return <<"SQL";
INSERT INTO momento_billing.webhook_inbox (payload)
SELECT sub_event('evt_' || i, i, 'sub_' || i, 'price_pro', 'active', 'user_' || i)
FROM generate_series(500 * $round + 1, 500 * $round + 500) AS i
SQL
}

sub round_is_applied
{
	my ($round, $test) = @_;

	wait_for($node, 'app', "SELECT count(*) = 500 * $round FROM momento_billing.webhook_inbox WHERE status = 'processed'", $test);
}

my $pid = $node->safe_psql('app', "SELECT pid FROM momento_billing.worker_status WHERE database = 'app'");
$node->safe_psql('app', insert_events(0));
round_is_applied(1, 'the library of today goes on with old SQL');
default_version($default);
is($node->safe_psql('app', insert_events(1) . "; ALTER EXTENSION momento_billing UPDATE; SELECT count(*) > 0 FROM momento_billing.webhook_inbox WHERE status = 'pending'"),
	't', 'updated in the middle of a drain');
round_is_applied(2, 'which goes on');
is($node->safe_psql('app', 'SELECT momento_billing.added(), count(*) FILTER (WHERE attempts > 0 OR last_error IS NOT NULL) FROM momento_billing.webhook_inbox'),
	'7|0', 'with the new column, and nothing failed');
is($node->safe_psql('app', "SELECT pid FROM momento_billing.worker_status WHERE database = 'app'"), $pid, 'it is the same worker');

# SQL that is newer than the library
my $offset = -s $node->logfile;
my $says = qr/momento_billing worker[^\n]* waits: [^\n]*restart the server/;
$node->safe_psql('app', insert_events(2) . "; ALTER EXTENSION momento_billing UPDATE TO '$newer'");
$node->wait_for_log($says, $offset);
my $pending = "SELECT count(*) FROM momento_billing.webhook_inbox WHERE status = 'pending'";
my $left = $node->safe_psql('app', $pending);
cmp_ok($left, '>', 0, 'newer than the library: events are kept');
is($node->safe_psql('app', "SELECT state FROM momento_billing.worker_status WHERE database = 'app'"), 'not ready', 'newer than the library: worker_status says so');
foreach my $n (1 .. 3)
{
	my $before = $node->safe_psql('app', 'SELECT clock_timestamp()');

	$node->safe_psql('app', 'SELECT momento_billing.wake_worker()');
	wait_for($node, 'app', "SELECT last_wake > '$before' FROM momento_billing.worker_status WHERE database = 'app'", "newer than the library: woken, $n");
}
is($node->safe_psql('app', $pending), $left, 'newer than the library: nothing is applied');
is(log_count($node, $says, $offset), 1, 'newer than the library: said once');
$node->safe_psql('app', "ALTER EXTENSION momento_billing UPDATE TO '$default'");
round_is_applied(3, 'the versions fit again: it goes on');
is(log_count($node, qr/momento_billing worker[^\n]* goes on/, $offset), 1, 'and says so once');
is(log_count($node, qr/momento_billing worker[^\n]* waits/, $offset), 1, 'nothing else was in its way');

$node->stop;
is(log_count($node, qr/PANIC|TRAP|terminated by signal/), 0, 'no crash');
done_testing();
