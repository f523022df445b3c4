# Random lives of users against a model that is as simple as can be: every
# answer, and now and then the tables.  Time passes by the stroke of a pen: what
# has to be over is made to have ended, and months are moved into the past.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use IPC::Run;
use List::Util qw(max min sum0);
use Momento;
use PostgreSQL::Test::Utils;
use Quota;
use Storable qw(dclone);
use Test::More;

my $seed = $ENV{MOMENTO_SEED} || int(rand(1 << 31));
my $nlives = $ENV{MOMENTO_LIVES} || 100;
my $nsteps = 300;
diag("MOMENTO_SEED=$seed");

# No worker serves the database: what it removes is another test's.
my $node = new_server('quota_model', ['app'], "log_statement = none\n");
$node->safe_psql('postgres', 'CREATE DATABASE direct');
set_up($node, 'direct');
away_from_month_end($node);

my @features = qw(auto_titles ai_chat reformulation);
my @tiers = qw(BASIC PRO BUSINESS ENTERPRISE);
my $unlimited = 9e15;

# ---------------------------------------------------------------------------
# The model: {tier}, {limits}{tier}{feature}, {month} (a number), {used}{feature}{month},
# {holds}[n], {grants}[n], {requests}{key}.  A hold and a request have {plan}, the
# plan's units, and {from}, a list of [grant, units]; what has been given back is
# taken off them.
# ---------------------------------------------------------------------------

my $m;

sub limit
{
	my ($feature) = @_;

	return $m->{limits}{ $m->{tier} // 'BASIC' }{$feature};
}

sub used
{
	my ($feature, $month) = @_;

	return $m->{used}{$feature}{$month} // 0;
}

sub held
{
	my ($feature, $month) = @_;

	return sum0(map { $_->{plan} } grep { $_->{state} eq 'held' && $_->{feature} eq $feature && $_->{month} == $month } @{ $m->{holds} });
}

# What the plan leaves, and what grants do
sub left
{
	my ($feature, $month) = @_;
	my $limit = limit($feature);

	return $limit eq 'unlimited' ? $unlimited : $limit eq 'none' ? 0 : max($limit - used($feature, $month) - held($feature, $month), 0);
}

sub live_grants
{
	my ($feature) = @_;

	return sort { $a->{ends} <=> $b->{ends} || $a->{n} <=> $b->{n} } grep { $_->{feature} eq $feature && !$_->{over} } @{ $m->{grants} };
}

sub granted
{
	return sum0(map { $_->{left} } live_grants(@_));
}

sub remaining
{
	my ($feature, $month) = @_;

	return limit($feature) eq 'unlimited' ? '' : left($feature, $month) + granted($feature);
}

# Units from the plan, then from grants: where they came from, or nothing.
sub take
{
	my ($feature, $units) = @_;
	my %taken = (plan => min($units, left($feature, $m->{month})), from => []);
	my $rest = $units - $taken{plan};

	return if $rest > granted($feature);
	foreach my $grant (live_grants($feature))
	{
		my $part = min($rest, $grant->{left}) or next;

		$grant->{left} -= $part;
		$rest -= $part;
		push @{ $taken{from} }, [ $grant->{n}, $part ];
	}
	return \%taken;
}

# Back the other way round; returns how many are the plan's.
sub give_back
{
	my ($taken, $units) = @_;

	while ($units > 0 && @{ $taken->{from} })
	{
		my $last = $taken->{from}[-1];
		my $part = min($units, $last->[1]);

		$m->{grants}[ $last->[0] ]{left} += $part;
		$units -= $part;
		$last->[1] -= $part;
		pop @{ $taken->{from} } if $last->[1] == 0;
	}
	$taken->{plan} -= $units;
	return $units;
}

sub row
{
	return '(' . join(',', map { $_ // '' } @_) . ')';
}

# The columns that consume_quota() and reserve_quota() have in common
sub answer
{
	my ($feature, $allowed) = @_;
	my $limit = limit($feature);
	my $reason = $allowed ? '' : $limit eq 'none' && granted($feature) == 0 ? 'not_in_plan' : 'limit_reached';

	return (
		$allowed ? 't' : 'f', used($feature, $m->{month}), held($feature, $m->{month}), $limit =~ /\d/ ? $limit : '',
		remaining($feature, $m->{month}), $limit eq 'unlimited' ? 't' : 'f', 't', $m->{tier} // 'BASIC', $reason);
}

sub model_consume
{
	my ($feature, $units, $key) = @_;
	my $call = "consume $feature $units";
	my $request = defined($key) ? $m->{requests}{$key} : undef;

	if ($request)
	{
		return 'error 22023' if $request->{call} ne $call;
		return row(@{ $request->{answer} }, 't');
	}
	my $taken = take($feature, $units) or return row(answer($feature, 0), 'f');
	$m->{used}{$feature}{ $m->{month} } += $taken->{plan};
	my @answer = answer($feature, 1);
	$m->{requests}{$key} = { call => $call, feature => $feature, month => $m->{month}, units => $units, refunded => 0, answer => \@answer, %$taken }
	  if defined($key);
	return row(@answer, 'f');
}

sub model_reserve
{
	my ($n, $feature, $units, $ttl, $key) = @_;
	my $call = "reserve $feature $units $ttl";
	my $request = defined($key) ? $m->{requests}{$key} : undef;

	if ($request)
	{
		return 'error 22023' if $request->{call} ne $call;
		return row(@{ $request->{answer} }, 't', $request->{hold}, '');
	}
	$m->{holds}[$n] = { state => 'none', feature => '', month => 0 };
	my $taken = take($feature, $units) or return row(answer($feature, 0), 'f', '', '');
	$m->{holds}[$n] = { state => 'held', feature => $feature, month => $m->{month}, units => $units, refunded => 0, %$taken };
	my @answer = answer($feature, 1);
	$m->{requests}{$key} = { call => $call, hold => $n, answer => \@answer } if defined($key);
	return row(@answer, 'f', $n, 't');
}

sub model_commit
{
	my ($n, $actual) = @_;
	my $hold = $m->{holds}[$n];
	my $feature = $hold->{feature};
	my $settled = sub {
		my ($committed, $units, $month, $reason) = @_;

		return row($committed, $units, used($feature, $month), held($feature, $month), remaining($feature, $month), $reason);
	};

	return $settled->('t', $hold->{units}, $hold->{month}, 'already_committed') if $hold->{state} eq 'committed';
	return $settled->('f', 0, $hold->{month}, 'already_released') if $hold->{state} eq 'released';
	$actual //= $hold->{units};
	if ($hold->{state} eq 'expired')
	{
		my $taken = take($feature, $actual) or return $settled->('f', 0, $m->{month}, 'reservation_expired');

		@$hold{ 'plan', 'from', 'month' } = (@$taken{ 'plan', 'from' }, $m->{month});
	}
	else
	{
		give_back($hold, $hold->{units} - $actual);
	}
	@$hold{ 'state', 'units' } = ('committed', $actual);
	$m->{used}{$feature}{ $hold->{month} } += $hold->{plan};
	return $settled->('t', $actual, $hold->{month}, '');
}

sub model_release
{
	my ($n) = @_;
	my $hold = $m->{holds}[$n];
	my ($released, $reason) = @{ { held => [ 't', '' ], released => [ 't', 'already_released' ],
			committed => [ 'f', 'already_committed' ], expired => [ 'f', 'reservation_expired' ] }->{ $hold->{state} } };

	if ($hold->{state} eq 'held')
	{
		give_back($hold, $hold->{units});
		$hold->{state} = 'released';
	}
	return row($released, used($hold->{feature}, $hold->{month}), held($hold->{feature}, $hold->{month}), remaining($hold->{feature}, $hold->{month}), $reason);
}

sub model_refund
{
	my ($feature, $units, $key) = @_;
	my $month = $m->{month};
	my $refunded = 0;

	if (!defined($key))
	{
		$refunded = min($units, used($feature, $month));
		$m->{used}{$feature}{$month} -= $refunded if $refunded;
	}
	elsif (my $request = $m->{requests}{$key})
	{
		my $taken = defined($request->{hold}) ? $m->{holds}[ $request->{hold} ] : $request;

		return 'error 22023' if $taken->{feature} ne $feature;
		$month = $taken->{month};
		if (!defined($request->{hold}) || $taken->{state} eq 'committed')
		{
			$refunded = max(min($units, $taken->{units}) - $taken->{refunded}, 0);
			$taken->{refunded} += $refunded;
			my $plan = give_back($taken, $refunded);
			my $kept = max($plan - used($feature, $month), 0);

			# units that a refund without a key has given back already
			$refunded -= $kept;
			$m->{used}{$feature}{$month} -= $plan - $kept;
		}
	}
	return row($refunded, used($feature, $month), remaining($feature, $month));
}

# ---------------------------------------------------------------------------
# Steps: each is SQL, and what the model says of it.
# ---------------------------------------------------------------------------

my (@script, @steps, $user, $nth);

sub step
{
	my ($sql, $expected, $what) = @_;
	my $n = scalar @steps;

	push @steps, { sql => $sql, expected => $expected, user => $user };
	push @script, $expected =~ /^error/ ? "$sql;\n\\echo '$n|error' :SQLSTATE\n" : $sql =~ s/^SELECT /SELECT $n, /r . ";\n";
}

# What has no answer
sub silently
{
	my ($sql) = @_;

	push @steps, { sql => $sql, user => $user };
	push @script, "$sql;\n";
}

sub pick
{
	return $_[ int(rand(@_)) ];
}

sub literal
{
	my ($value) = @_;

	return defined($value) ? $value =~ /^\d+$/ ? $value : "'$value'" : 'NULL';
}

sub some_units
{
	my $left = rand() < 0.5 ? 0 : left($features[0], $m->{month});

	return rand() < 0.01 ? 1e12 : rand() < 0.2 && $left < 1000 ? $left + 1 : 1 + int(rand(rand() < 0.2 ? 20 : 4));
}

# A key: mostly none or a new one, now and then one of the last few
sub some_key
{
	my ($old) = @_;
	my $keys = $m->{keys};

	return undef if !$old && rand() < 0.4;
	return "key $keys->[-1 - int(rand(min(8, scalar @$keys)))]" if @$keys && rand() < ($old ? 0.95 : 0.3);
	push @$keys, scalar(@$keys) + 1;
	return "key $keys->[-1]";
}

# A key's call again, so that its replay is met
sub same_call
{
	my ($key, $function, @arguments) = @_;
	my $request = defined($key) ? $m->{requests}{$key} : undef;

	return @arguments if !$request || rand() < 0.1;
	my ($first_function, @first) = split(/ /, $request->{call});
	return $first_function eq $function ? @first : @arguments;
}

sub some_hold
{
	my @holds = grep { $m->{holds}[$_] && $m->{holds}[$_]{state} ne 'none' } max(0, $#{ $m->{holds} } - 12) .. $#{ $m->{holds} };

	return @holds ? pick(@holds) : undef;
}

my $columns = 'used, held, monthly_limit, remaining, unlimited, resets_at = pg_temp.month_end(), tier, reason, replayed';

my %kinds = (
	consume => [ 30, sub {
		my $key = some_key();
		my ($feature, $units) = same_call($key, 'consume', pick(@features), some_units());

		step("SELECT ROW(allowed, $columns) FROM momento_billing.consume_quota('$user', '$feature', $units, @{[ literal($key) ]})",
			model_consume($feature, $units, $key));
	} ],
	consume_often => [ 2, sub {
		my $feature = pick(@features);

		step("SELECT string_agg((momento_billing.consume_quota('$user', '$feature', i)).allowed::text, ' ' ORDER BY i) FROM generate_series(1, 4) AS i",
			join(' ', map { model_consume($feature, $_) =~ /^\(t/ ? 'true' : 'false' } 1 .. 4));
	} ],
	reserve => [ 16, sub {
		my $key = some_key();
		my ($feature, $units, $ttl) = same_call($key, 'reserve', pick(@features), some_units(), pick(3600, 86400));
		my $n = scalar @{ $m->{holds} };

		step("SELECT pg_temp.reserve($n, '$user', '$feature', $units, '$ttl s', @{[ literal($key) ]})", model_reserve($n, $feature, $units, $ttl, $key));
	} ],
	commit => [ 11, sub {
		my $n = some_hold() // return;
		my $actual = rand() < 0.5 ? undef : int(rand($m->{holds}[$n]{units} + 1));

		step("SELECT ROW(committed, amount, used, held, remaining, reason) FROM momento_billing.commit_reservation(pg_temp.hold($n), @{[ literal($actual) ]})",
			model_commit($n, $actual));
	} ],
	release => [ 6, sub {
		my $n = some_hold() // return;

		step("SELECT ROW(released, used, held, remaining, reason) FROM momento_billing.release_reservation(pg_temp.hold($n))", model_release($n));
	} ],
	refund => [ 12, sub {
		my $key = some_key(1);
		my $request = $m->{requests}{$key};
		my $feature = $request && rand() < 0.95 ? (split(/ /, $request->{call}))[1] : pick(@features);
		my $units = $request && rand() < 0.5 ? (split(/ /, $request->{call}))[2] : 1 + int(rand(5));

		step("SELECT ROW(refunded, used, remaining) FROM momento_billing.refund_quota('$user', '$feature', $units, '$key')", model_refund($feature, $units, $key));
	} ],
	refund_any => [ 3, sub {
		my ($feature, $units) = (pick(@features), 1 + int(rand(3)));

		step("SELECT ROW(refunded, used, remaining) FROM momento_billing.refund_quota('$user', '$feature', $units)", model_refund($feature, $units));
	} ],
	grant => [ 4, sub {
		my ($feature, $units, $days) = (pick(@features), 1 + int(rand(12)), pick(1, 2, 3, 0));
		my $n = scalar @{ $m->{grants} };

		push @{ $m->{grants} }, { n => $n, feature => $feature, units => $units, left => $units, ends => $days || 1000 };
		step("SELECT pg_temp.give($n, '$user', '$feature', $units, $days)", 't');
	} ],
	grant_ends => [ 2, sub {
		my $grant = pick(grep { !$_->{over} } @{ $m->{grants} }) // return;

		$grant->{over} = 1;
		silently("UPDATE momento_billing.quota_grant SET expires_at = statement_timestamp() - interval '1 s' WHERE reason = '$grant->{n}' AND user_id = '$user'");
	} ],
	hold_ends => [ 5, sub {
		my $n = some_hold() // return;

		return if $m->{holds}[$n]{state} ne 'held';
		give_back($m->{holds}[$n], $m->{holds}[$n]{units});
		$m->{holds}[$n]{state} = 'expired';
		silently("UPDATE momento_billing.quota_reservation SET expires_at = statement_timestamp() - interval '1 s' WHERE id = pg_temp.hold($n)");
	} ],
	month_ends => [ 1, sub {
		my $move = sub {
			my ($table, $interval) = @_;

			silently("UPDATE momento_billing.$table SET period_start = (period_start AT TIME ZONE 'UTC' + interval '$interval') AT TIME ZONE 'UTC' WHERE user_id = '$user'");
		};

		$m->{month}++;
		# by way of another millennium: no month meets the one before
		foreach my $table ('usage', 'quota_reservation', 'quota_request')
		{
			$move->($table, '1000 years');
			$move->($table, '-1000 years -1 month');
		}
	} ],
	tier => [ 4, sub {
		my $tier = rand() < 0.15 ? undef : pick(@tiers);

		return if !defined($tier) && !defined($m->{tier});
		silently(!defined($tier) ? qq(DELETE FROM "Subscription" WHERE "userId" = '$user')
			: defined($m->{tier}) ? qq(UPDATE "Subscription" SET tier = '$tier' WHERE "userId" = '$user')
			: qq(INSERT INTO "Subscription" (id, "userId", tier, status, "updatedAt") VALUES ('$user', '$user', '$tier', 'ACTIVE', now())));
		$m->{tier} = $tier;
	} ],
	limit => [ 1, sub {
		my ($tier, $feature, $limit) = (pick(@tiers), pick(@features), pick(0 .. 9, 20, 40, 'unlimited', 'none'));

		$m->{limits}{$tier}{$feature} = $limit;
		silently($limit eq 'none' ? "DELETE FROM momento_billing.plan_limit WHERE tier = '$tier' AND feature = '$feature'"
			: "INSERT INTO momento_billing.plan_limit VALUES ('$tier', '$feature', @{[ $limit eq 'unlimited' ? 'NULL' : $limit ]}) ON CONFLICT (tier, feature) DO UPDATE SET monthly_limit = EXCLUDED.monthly_limit");
	} ],
	import => [ 1, sub {
		my ($feature, $value) = (pick(@features), int(rand(12)));

		$m->{used}{$feature}{ $m->{month} } = max(used($feature, $m->{month}), $value);
		step("SELECT momento_billing.import_redis_usage(pg_temp.redis_key('$user', '$feature'), $value)", used($feature, $m->{month}));
	} ],
	read => [ 8, sub {
		my $feature = pick(@features);
		my $limit = limit($feature);

		step("SELECT ROW(used, held, monthly_limit, remaining, unlimited, included, momento_billing.quota_remaining('$user', '$feature')) FROM momento_billing.quota_remaining('$user') WHERE feature = '$feature'",
			row(used($feature, $m->{month}), held($feature, $m->{month}), $limit =~ /\d/ ? $limit : '', remaining($feature, $m->{month}),
				$limit eq 'unlimited' ? 't' : 'f', $limit eq 'none' ? 'f' : 't', remaining($feature, $m->{month})));
	} ],
	wrong => [ 3, sub {
		my $n = some_hold();
		my @wrong = map { "SELECT momento_billing.$_" } (
			"consume_quota('$user', 'ai_chat', @{[ pick(0, -1, '1000000000001', 'NULL', '9223372036854775807', '(-9223372036854775807)') ]})",
			"consume_quota('$user', @{[ pick('NULL', q('no_such_feature'), q('')) ]})",
			"consume_quota(@{[ pick('NULL', q('')) ]}, 'ai_chat')",
			"consume_quota('$user', 'ai_chat', 1, '')", "consume_quota('$user', 'ai_chat', 1, repeat('k', 256))",
			"refund_quota('$user', 'ai_chat', @{[ pick(0, -1, 'NULL', '1000000000001') ]}, 'key 1')",
			"refund_quota('$user', @{[ pick('NULL', q('no_such_feature')) ]}, 1)",
			"reserve_quota('$user', 'ai_chat', 1, @{[ pick('NULL', q('0 s'), q('-1 s'), q('24 h 1 s'), q('1 mon')) ]})",
			"reserve_quota('$user', 'ai_chat', 0)", "reserve_quota('$user', 'ai_chat', 1, '1 h', '')",
			"commit_reservation(@{[ pick('NULL', 0, -1, '9223372036854775807') ]})", "release_reservation(@{[ pick('NULL', 0) ]})",
			"import_redis_usage(@{[ pick('NULL', qq('usage:$user:ai_chat'), qq('usage:$user:ai_chat:2026-13'), qq('usage:$user:nothing:2026-01')) ]}, 1)",
			"import_redis_usage(pg_temp.redis_key('$user', 'ai_chat'), @{[ pick('NULL', -1) ]})");

		push @wrong, "SELECT momento_billing.commit_reservation(pg_temp.hold($n), @{[ pick(-1, $m->{holds}[$n]{units} + 1) ]})"
		  if defined($n) && $m->{holds}[$n]{state} =~ /held|expired/;
		step(pick(@wrong), 'error 22023');
	} ]);
my @lot = map { ($_) x $kinds{$_}[0] } sort keys %kinds;

# The tables, as the model knows them: what is used and held per month; what is
# left of grants, with the units of holds that are over but not swept yet; what
# of holds and requests has not been given back.
sub look
{
	my @usage = map { my $f = $_; map { my $u = used($f, $_); my $h = held($f, $_); $u || $h ? "$f @{[ $m->{month} - $_ ]} $u $h" : () } reverse 0 .. $m->{month} } sort @features;
	my @grants = map { "$_->{n} $_->{left}" } @{ $m->{grants} };
	my @holds;
	my @requests;

	foreach my $n (0 .. $#{ $m->{holds} })
	{
		my $hold = $m->{holds}[$n];

		push @holds, "$n $hold->{state} $hold->{units} $hold->{plan} " . sum0(map { $_->[1] } @{ $hold->{from} }) if $hold->{state} =~ /held|committed/;
		push @holds, "$n $hold->{state}" if $hold->{state} =~ /released|expired/;
	}
	foreach my $key (sort keys %{ $m->{requests} })
	{
		my $request = $m->{requests}{$key};
		my $taken = defined($request->{hold}) ? $m->{holds}[ $request->{hold} ] : $request;

		push @requests, "$key $taken->{refunded}" . (defined($request->{hold}) ? '' : " $taken->{plan} " . sum0(map { $_->[1] } @{ $taken->{from} }));
	}
	step("SELECT pg_temp.usage_of('$user')", join(', ', @usage));
	step("SELECT pg_temp.grants_of('$user')", join(', ', @grants));
	step("SELECT pg_temp.holds_of('$user')", join(', ', @holds));
	step("SELECT pg_temp.requests_of('$user')", join(', ', @requests));
	step("SELECT pg_temp.all_is_well('$user')", 't');
}

sub random_step
{
	my ($is_open) = @_;
	my $state = dclone($m);
	my ($nsteps, $nscript) = (scalar @steps, scalar @script);

	$kinds{ pick(@lot) }[1]->();

	# an error would end the open transaction
	if ($is_open && grep { ($_->{expected} // '') =~ /^error/ } @steps[ $nsteps .. $#steps ])
	{
		$m = $state;
		$#steps = $nsteps - 1;
		$#script = $nscript - 1;
	}
}

my %limits;
foreach my $line (split(/\n/, $node->safe_psql('direct', q(SELECT tier, feature, coalesce(monthly_limit::text, 'unlimited') FROM momento_billing.plan_limit))))
{
	my ($tier, $feature, $limit) = split(/\|/, $line);

	$limits{$tier}{$feature} = $limit;
}
foreach my $life (1 .. $nlives)
{
	srand($seed + $life);
	$user = "life:$life";
	$m = { tier => undef, month => 0, used => {}, holds => [], grants => [], requests => {}, keys => [],
		limits => { map { my $t = $_; ($t => { map { ($_ => $limits{$t}{$_} // 'none') } @features }) } @tiers } };
	silently("SELECT pg_temp.begin_life()");
	silently('SET momento_billing.force_spi = ' . pick('on', 'off'));
	$kinds{tier}[1]->() if rand() < 0.7;
	foreach my $n (1 .. $nsteps)
	{
		my $chance = rand();

		random_step(0);
		look() if $n % 60 == 0;
		next if $chance > 0.02;

		# some steps in a transaction, which may be given up in whole or in part
		silently('BEGIN' . pick('', '', ' ISOLATION LEVEL REPEATABLE READ', ' ISOLATION LEVEL SERIALIZABLE'));
		my $before = dclone($m);
		random_step(1) foreach 1 .. int(rand(4));
		silently('SAVEPOINT here');
		my $here = dclone($m);
		random_step(1) foreach 1 .. int(rand(4));
		if ($chance < 0.007)
		{
			silently('ROLLBACK TO here');
			$m = $here;
			random_step(1);
		}
		elsif ($chance < 0.014)
		{
			silently('RELEASE here');
			random_step(1);
		}
		silently($chance < 0.010 ? 'ROLLBACK' : 'COMMIT');
		$m = $before if $chance < 0.010;
	}
}

write_file($node->basedir . '/lives.sql', join('', <<'SQL', @script));
\set ON_ERROR_STOP 0
\pset format unaligned
\pset tuples_only on
SET client_min_messages = error;
SET timezone = 'UTC';
CREATE TEMP TABLE first_limit AS SELECT * FROM momento_billing.plan_limit;
CREATE TEMP TABLE reservation (n int PRIMARY KEY, id bigint);
CREATE FUNCTION pg_temp.begin_life() RETURNS void LANGUAGE sql AS $$
	DELETE FROM reservation;
	DELETE FROM momento_billing.plan_limit;
	INSERT INTO momento_billing.plan_limit SELECT * FROM first_limit;
$$;
CREATE FUNCTION pg_temp.month(at timestamptz) RETURNS int LANGUAGE sql AS $$
	SELECT (extract(year FROM at AT TIME ZONE 'UTC') * 12 + extract(month FROM at AT TIME ZONE 'UTC'))::int
$$;
CREATE FUNCTION pg_temp.month_end() RETURNS timestamptz LANGUAGE sql AS $$
	SELECT (date_trunc('month', statement_timestamp() AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC'
$$;
CREATE FUNCTION pg_temp.redis_key(user_id text, feature text) RETURNS text LANGUAGE sql AS $$
	SELECT 'usage:' || $1 || ':' || $2 || ':' || to_char(statement_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM')
$$;
CREATE FUNCTION pg_temp.hold(n int) RETURNS bigint LANGUAGE sql AS $$ SELECT id FROM reservation AS r WHERE r.n = $1 $$;
CREATE FUNCTION pg_temp.reserve(n int, user_id text, feature text, amount bigint, ttl interval, key text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	a record;
BEGIN
	a := momento_billing.reserve_quota(user_id, feature, amount, ttl, key);
	IF a.allowed AND NOT a.replayed THEN
		INSERT INTO reservation VALUES (n, a.reservation_id);
	END IF;
	RETURN ROW(a.allowed, a.used, a.held, a.monthly_limit, a.remaining, a.unlimited, a.resets_at = pg_temp.month_end(), a.tier, a.reason, a.replayed,
		(SELECT r.n FROM reservation AS r WHERE r.id = a.reservation_id),
		CASE WHEN NOT a.replayed THEN a.expires_at = statement_timestamp() + ttl END);
END
$$;
CREATE FUNCTION pg_temp.give(n int, user_id text, feature text, amount bigint, days int) RETURNS bool LANGUAGE sql AS $$
	SELECT momento_billing.grant_quota($2, $3, $4, CASE WHEN $5 > 0 THEN date_trunc('hour', statement_timestamp()) + $5 * interval '100 days' END, $1::text) IS NOT NULL
$$;
CREATE FUNCTION pg_temp.usage_of(user_id text) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(format('%s %s %s %s', feature, month, used, held), ', ' ORDER BY feature, month), '')
	FROM (SELECT u.feature, pg_temp.month(statement_timestamp()) - pg_temp.month(u.period_start) AS month, u.used,
			(SELECT coalesce(sum(r.plan_units), 0) FROM momento_billing.quota_reservation AS r
				WHERE r.user_id = $1 AND r.feature = u.feature AND r.period_start = u.period_start AND r.state = 'held' AND r.expires_at > statement_timestamp()) AS held
		FROM momento_billing.usage AS u WHERE u.user_id = $1) AS x
	WHERE used > 0 OR held > 0
$$;
CREATE FUNCTION pg_temp.grants_of(user_id text) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(format('%s %s', g.reason, g.remaining + coalesce(h.units, 0)), ', ' ORDER BY g.id), '')
	FROM momento_billing.quota_grant AS g
	LEFT JOIN (SELECT f.id, sum(f.units) AS units FROM momento_billing.quota_reservation AS r, unnest(r.grant_ids, r.grant_units) AS f (id, units)
		WHERE r.user_id = $1 AND r.state = 'held' AND r.expires_at <= statement_timestamp() GROUP BY f.id) AS h ON h.id = g.id
	WHERE g.user_id = $1
$$;
CREATE FUNCTION pg_temp.holds_of(user_id text) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(
		CASE WHEN r.state = 'committed' OR r.state = 'held' AND r.expires_at > statement_timestamp()
			THEN format('%s %s %s %s %s', n.n, r.state, r.amount, r.plan_units, (SELECT coalesce(sum(units), 0) FROM unnest(r.grant_units) AS units))
			ELSE format('%s %s', n.n, CASE r.state WHEN 'held' THEN 'expired' ELSE r.state END) END, ', ' ORDER BY n.n), '')
	FROM momento_billing.quota_reservation AS r JOIN reservation AS n ON n.id = r.id
$$;
CREATE FUNCTION pg_temp.requests_of(user_id text) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(format('%s %s', q.idempotency_key, q.refunded)
		|| CASE WHEN q.reservation_id IS NULL THEN format(' %s %s', q.plan_units, (SELECT coalesce(sum(units), 0) FROM unnest(q.grant_units) AS units)) ELSE '' END,
		', ' ORDER BY q.idempotency_key), '')
	FROM momento_billing.quota_request AS q WHERE q.user_id = $1
$$;
CREATE FUNCTION pg_temp.all_is_well(user_id text) RETURNS bool LANGUAGE sql AS $$
	SELECT NOT EXISTS (SELECT FROM momento_billing.usage AS u WHERE u.user_id = $1 AND u.held <>
			(SELECT coalesce(sum(r.plan_units), 0) FROM momento_billing.quota_reservation AS r
			WHERE r.user_id = u.user_id AND r.feature = u.feature AND r.period_start = u.period_start AND r.state = 'held'))
		AND NOT EXISTS (SELECT FROM momento_billing.quota_grant AS g WHERE g.user_id = $1 AND g.remaining > g.amount)
		AND NOT EXISTS (SELECT FROM momento_billing.quota_reservation AS r WHERE r.user_id = $1
			AND r.state IN ('held', 'committed') AND cardinality(r.grant_ids) <> cardinality(r.grant_units))
$$;
SQL

my ($output, $errors) = ('', '');
IPC::Run::run([ 'psql', '-X', '-q', '-d', $node->connstr('direct'), '-f', $node->basedir . '/lives.sql' ], '>', \$output, '2>', \$errors);
my %answers;
$output =~ s/^(\d+)\|(.*)$/$answers{$1} = $2; ''/gme;

my ($compared, @wrong) = (0);
foreach my $n (0 .. $#steps)
{
	next if !defined($steps[$n]{expected});
	$compared++;
	push @wrong, $n if ($answers{$n} // 'none') ne $steps[$n]{expected};
}
is(scalar(@wrong), 0, "$compared answers of " . scalar(@steps) . ' steps are the model\'s');
if (@wrong)
{
	my $n = $wrong[0];
	my ($feature) = $steps[$n]{sql} =~ /'(auto_titles|ai_chat|reformulation)'/;

	diag("step $n of $steps[$n]{user}: $steps[$n]{sql}");
	diag('got      ' . ($answers{$n} // 'none'));
	diag("expected $steps[$n]{expected}");
	diag('before it:');
	foreach my $i (max(0, $n - 60) .. $n - 1)
	{
		diag("  $steps[$i]{sql}" . (defined($steps[$i]{expected}) ? " → $answers{$i}" : '')) if $steps[$i]{user} eq $steps[$n]{user};
	}
	diag(join("\n", grep { !/22023|unknown feature|must|HINT|The features/ } split(/\n/, $errors))) if !defined($answers{$n});
}
$output =~ s/\s*\n\s*/\n/g;
is(substr($output, 0, 1000), "\n", 'and there are no others');

my %seen;
foreach my $step (grep { defined($_->{expected}) } @steps)
{
	$seen{$1}++ while $step->{expected} =~ /(error|limit_reached|not_in_plan|already_committed|already_released|reservation_expired)/g;
	$seen{replayed}++ if $step->{sql} =~ /consume_quota\('/ && $step->{expected} =~ /^\(.*,t\)$/;
}
note(join(', ', map { "$_ $seen{$_}" } sort keys %seen));
is(scalar(keys %seen), 7, 'all kinds of answers were met');

$node->stop;
is(log_count($node, qr/PANIC|TRAP|terminated by signal/), 0, 'no crash');
done_testing();
