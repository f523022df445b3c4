# The Prometheus queries of docs/prometheus: each runs with the rights that
# docs/monitoring.md names, answers the columns that are declared, as numbers
# where they are values, and says what is the case.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use CPAN::Meta::YAML;
use Momento;
use PostgreSQL::Test::Utils;
use Quota;
use Test::More;

my $docs = "$FindBin::RealBin/../../docs";
my %collectors = map { $_->{collector_name} => $_ } @{ yaml('momento_billing.yml')->{collectors} };
my $postgres_exporter = yaml('postgres_exporter.yml');
my $alerts = yaml('alerts.yml');
my @labels = qw(database state outcome holder status reason feature percent);

# One form for both files: per query its SQL, labels, values and metrics.
my %of_sql_exporter = map { from_sql_exporter($_) } values %collectors;
my %of_postgres_exporter = map { from_postgres_exporter($_) } keys %$postgres_exporter;

my $node = new_server('monitoring', ['app'], "log_statement = none\n");
away_from_month_end($node);
set_up($node, 'app');
my ($grants) = slurp_file("$docs/monitoring.md") =~ /^((?: {4}(?:CREATE ROLE|GRANT) .*\n)+)/m;
ok($grants, 'docs/monitoring.md has the rights to be granted');
$node->safe_psql('app', $grants);
$node->safe_psql('app', 'CREATE ROLE admin; GRANT pg_monitor TO admin; SELECT momento_billing.grant_admin_access(\'admin\')');
wait_for($node, 'app', "SELECT state = 'idle' FROM momento_billing.worker_status", 'the worker rests');

sub yaml
{
	my ($file) = @_;

	return CPAN::Meta::YAML->read("$docs/prometheus/$file")->[0];
}

sub from_sql_exporter
{
	my ($collector) = @_;
	my %queries = map { $_->{query_name} => { sql => $_->{query}, labels => {}, values => {}, types => {} } } @{ $collector->{queries} };

	foreach my $metric (@{ $collector->{metrics} })
	{
		my $query = $queries{ $metric->{query_ref} };

		$query->{labels}{$_} = 1 foreach @{ $metric->{key_labels} };
		$query->{values}{$_} = 1 foreach @{ $metric->{values} };
		$query->{types}{ $metric->{metric_name} } = $metric->{type};
	}
	return %queries;
}

sub from_postgres_exporter
{
	my ($name) = @_;
	my %query = (sql => $postgres_exporter->{$name}{query}, labels => {}, values => {}, types => {});

	foreach my $metric (@{ $postgres_exporter->{$name}{metrics} })
	{
		my ($column, $what) = %$metric;
		my $usage = lc $what->{usage};

		$query{ $usage eq 'label' ? 'labels' : 'values' }{$column} = 1;
		$query{types}{"${name}_$column"} = $usage unless $usage eq 'label';
	}
	return ($name =~ s/^momento_billing_//r => \%query);
}

# What a query answers to a role: its error, its columns, its rows as hashes.
sub rows
{
	my ($role, $sql) = @_;
	my ($status, $out, $err) =
	  $node->psql('app', "SET SESSION AUTHORIZATION $role;\n$sql", extra_params => ['--pset=tuples_only=off', '--pset=footer=off', '--pset=null=NULL']);
	my ($names, @lines) = split(/\n/, $out);
	my @columns = split(/\|/, $names // '', -1);

	return ($err, \@columns, [ map { my %row; @row{@columns} = split(/\|/, $_, -1); \%row } @lines ]);
}

# Every query: what it answers, by its name.
sub run_all
{
	my ($role, $when) = @_;
	my %answers;

	foreach my $name (sort keys %of_sql_exporter)
	{
		my $query = $of_sql_exporter{$name};
		my ($err, $columns, $rows) = rows($role, $query->{sql});
		my @declared = sort keys %{ $query->{labels} }, keys %{ $query->{values} };

		is($err, '', "$name: runs as $role, $when");
		is_deeply([ sort @$columns ], \@declared, "$name: its columns are those declared");
		is_deeply([ grep { /\D/ } map { s/\.\d+$//r } map { @$_{ keys %{ $query->{values} } } } @$rows ], [], "$name: values are numbers");
		is_deeply([ grep { $_ eq 'NULL' } map { @$_{ keys %{ $query->{labels} } } } @$rows ], [], "$name: labels are not null");
		my %series;
		$series{ join('|', @$_{ sort keys %{ $query->{labels} } }) }++ foreach @$rows;
		is_deeply([ grep { $series{$_} > 1 } keys %series ], [], "$name: a row per series");
		$answers{$name} = $rows;
	}
	return \%answers;
}

# The value of a column in the row with these labels.
sub value
{
	my ($rows, $column, %with) = @_;
	my @found = grep { my $row = $_; !grep { $row->{$_} ne $with{$_} } keys %with } @$rows;

	return @found == 1 ? $found[0]{$column} : undef;
}

##############################################################################
# The files
##############################################################################

is_deeply(\%of_postgres_exporter, \%of_sql_exporter, 'both exporters have the same queries, labels and metrics');
foreach my $name (sort keys %of_sql_exporter)
{
	my $query = $of_sql_exporter{$name};

	is_deeply([ grep { my $label = $_; !grep { $_ eq $label } @labels } keys %{ $query->{labels} } ],
		[], "$name: no label but those that have few values");
	is_deeply([ grep { (/_total$/ ? 'counter' : 'gauge') ne $query->{types}{$_} } keys %{ $query->{types} } ], [], "$name: counters are named so");
}

# What reads the whole inbox is not read at every scrape.
foreach my $name (sort keys %of_sql_exporter)
{
	my $whole = $of_sql_exporter{$name}{sql} =~ /inbox_stats|dead_events/;
	my ($collector) = grep { my $c = $_; grep { $_->{query_name} eq $name } @{ $c->{queries} } } values %collectors;

	is($collector->{min_interval} // '', $whole ? '60s' : '', "$name: interval of sql_exporter");
	is($postgres_exporter->{"momento_billing_$name"}{cache_seconds} // '', $whole ? 60 : '', "$name: interval of postgres_exporter");
}

my %metrics = map { %{ $_->{types} } } values %of_sql_exporter;
foreach my $rule (map { @{ $_->{rules} } } @{ $alerts->{groups} })
{
	my @used = $rule->{expr} =~ /\bmomento_billing_\w+/g;

	ok(@used > 0, "$rule->{alert}: is about us");
	is_deeply([ grep { !$metrics{$_} } @used ], [], "$rule->{alert}: its metrics exist");
}
my $manual = slurp_file("$docs/monitoring.md");
is_deeply([ grep { $manual !~ /`\Q$_\E`/ } sort keys %metrics ], [], 'docs/monitoring.md has every metric');

##############################################################################
# A server without events
##############################################################################

my $answers = run_all('prometheus', 'without events');
is(value($answers->{worker}, 'up'), 1, 'the worker is up');
is(value($answers->{worker}, 'lag_seconds'), 0, 'no lag');
is(value($answers->{worker_state}, 'info', state => 'idle'), 1, 'its state');
is(value($answers->{events}, 'settled_total', outcome => 'processed'), 0, 'nothing was processed');
is(value($answers->{inbox}, 'events', status => 'dead'), 0, 'a status without events has a row');
is_deeply($answers->{dead}, [], 'no dead events');
is_deeply($answers->{quota}, [], 'no quotas used');

##############################################################################
# A server with events: processed, ignored, waiting and dead ones, and one
# that is due while the worker is switched off
##############################################################################

$node->safe_psql('app', <<'SQL');
INSERT INTO momento_billing.webhook_inbox (payload)
SELECT sub_event('evt_' || n, n, 'sub_' || n, 'price_pro', 'active', 'user_' || n) FROM generate_series(1, 5) AS n
UNION ALL SELECT sub_event('evt_waits', 1, 'sub_nobody', 'price_pro', 'active')
UNION ALL SELECT sub_event('evt_ignored', 1, 'sub_1', 'price_pro', 'active') || '{"type": "charge.succeeded"}'
UNION ALL SELECT sub_event('evt_conflict', 9, 'sub_1', 'price_pro', 'active', 'user_of_another_name');
SQL
wait_for($node, 'app', "SELECT NOT EXISTS (SELECT FROM momento_billing.webhook_inbox WHERE status = 'pending')", 'events are settled');
$node->safe_psql('app', <<'SQL');
SELECT momento_billing.consume_quota('user_1', 'semantic_search', 85);
SELECT momento_billing.consume_quota('user_2', 'semantic_search', 100);
SQL
my $session = $node->background_psql('app');
$session->query_safe("SET application_name = 'reports'; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM momento_billing.usage");
settings($node, 'momento_billing.enabled' => 'off');
wait_for($node, 'app', "SELECT state IN ('stopped', 'disabled') FROM momento_billing.worker_status", 'the worker is switched off');
$node->safe_psql('app', q{INSERT INTO momento_billing.webhook_inbox (payload) SELECT sub_event('evt_due', 100, 'sub_1', 'price_pro', 'active')});

$answers = run_all($_, 'with events') foreach 'admin', 'prometheus';
is(value($answers->{worker}, 'up'), 0, 'switched off, it is not up');
cmp_ok(value($answers->{worker}, 'lag_seconds'), '>', 0, 'an event is due: lag');
cmp_ok(value($answers->{worker}, 'events_per_minute'), '<=', 8, 'no more events in a minute than there were');
cmp_ok(value($answers->{worker}, $_), '>', $T0, "$_ is a time") foreach qw(started_timestamp_seconds last_wake_timestamp_seconds last_event_timestamp_seconds);
like($answers->{worker_state}[0]{state}, qr{^(stopped|disabled)$}, 'its state');
is_deeply([ map { value($answers->{events}, 'settled_total', outcome => $_) } qw(processed ignored waiting dead) ], [ 5, 1, 1, 1 ], 'counters');
is_deeply([ map { value($answers->{inbox}, 'events', status => $_) } qw(pending processed ignored waiting dead) ], [ 1, 5, 1, 1, 1 ], 'the inbox');
cmp_ok(value($answers->{inbox}, 'oldest_age_seconds', status => 'waiting'), '>', 0, 'the age of the one that waits');
is(value($answers->{dead}, 'events', reason => 'link_conflict'), 1, 'the dead one and its reason');
is(value($answers->{quota}, 'users', feature => 'semantic_search', percent => 80), 2, 'users who have used 80 percent');
is(value($answers->{quota}, 'users', feature => 'semantic_search', percent => 100), 1, 'users who have used all');
cmp_ok(value($answers->{inbox_size}, 'bytes'), '>', 0, 'the size of the inbox');
cmp_ok(value($answers->{oldest_xmin}, 'age', holder => 'backend'), '>', 0, 'who keeps dead rows');
like($node->safe_psql('app', 'SELECT oldest_xmin_holder FROM momento_billing.worker_status'), qr/^backend \d+ \(reports\)$/, 'and by name');
$session->quit;

# Months that are over do not count.
$node->safe_psql('app', "UPDATE momento_billing.quota_crossing SET period_start = period_start - interval '1 month'");
is_deeply((rows('prometheus', $of_sql_exporter{quota}{sql}))[2], [], 'last month is over');

$node->stop;
done_testing();
