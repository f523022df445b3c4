# What the TAP tests share: servers with the library preloaded, databases with
# the extension and an app's table, events, and signed webhooks.
package Momento;

use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha256_hex);
use Exporter 'import';
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  new_server set_up sub_event checkout_event invoice_event event_json
  write_file sign receive settings log_count all_rows wait_for
  $T0 $MONTH $SECRET
);

# Times in the past and far in the future: nothing that a test looks at
# changes with the day on which it runs.
our $T0 = 1767225600;
our $MONTH = 2592000;
our $SECRET = 'whsec_of_the_tests';

# A server whose workers serve the databases; these exist when it starts.  The
# worker naps for an hour: what is applied sooner was applied because a commit
# woke it.
sub new_server
{
	my ($name, $databases, $conf) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	write_file($node->basedir . '/webhook_secret', "$SECRET\n");
	$node->start;
	$node->safe_psql('postgres', "CREATE DATABASE $_") foreach @$databases;
	$node->append_conf('postgresql.conf',
		"shared_preload_libraries = 'momento_billing'\n"
		  . "momento_billing.databases = '" . join(', ', @$databases) . "'\n"
		  . "momento_billing.webhook_secret_file = '" . $node->basedir . "/webhook_secret'\n"
		  . "momento_billing.naptime = '1h'\n"
		  . "max_prepared_transactions = 10\n"
		  . ($conf // ''));
	$node->restart;
	return $node;
}

# Extension, plans, the app's table, and functions that make events in bulk.
sub set_up
{
	my ($node, $database) = @_;

	$node->safe_psql($database, <<'SQL');
BEGIN;
CREATE EXTENSION momento_billing;
SELECT momento_billing.seed_plans(), momento_billing.create_subscription_table();
INSERT INTO momento_billing.price VALUES ('price_pro', 'PRO', 'month'), ('price_business', 'BUSINESS', 'month');
CREATE FUNCTION sub_event(id text, at int, sub text, price text, status text, user_id text DEFAULT NULL)
RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('id', $1, 'object', 'event', 'type', 'customer.subscription.updated',
		'created', 1767225600 + $2, 'livemode', false,
		'data', jsonb_build_object('object', jsonb_build_object(
			'id', $3, 'object', 'subscription', 'customer', 'cus_' || $3, 'status', $5,
			'metadata', jsonb_strip_nulls(jsonb_build_object('userId', $6)),
			'items', jsonb_build_object('data', jsonb_build_array(jsonb_build_object(
				'price', jsonb_build_object('id', $4),
				'current_period_start', 1767225600, 'current_period_end', 4000000000))))))
$$;
COMMIT;
SQL
}

# customer.subscription.*: id, created, sub, customer, type, status, price,
# start, end, user, previous_status, and what else stands in the object.
sub sub_event
{
	my %e = (type => 'updated', status => 'active', price => 'price_pro', @_);
	my %object = (
		id => $e{sub}, object => 'subscription', customer => $e{customer}, status => $e{status},
		cancel_at_period_end => JSON::PP::false, metadata => $e{user} ? { userId => $e{user} } : {},
		%{ $e{object} // {} });
	my %item = (price => { id => $e{price} });
	my %data = (object => \%object);

	if ($e{old_shape})
	{
		@object{ 'current_period_start', 'current_period_end' } = @e{ 'start', 'end' };
	}
	else
	{
		@item{ 'current_period_start', 'current_period_end' } = @e{ 'start', 'end' };
	}
	$object{items} = { object => 'list', data => [ \%item ] };
	$data{previous_attributes} = { status => $e{previous_status} } if $e{previous_status};
	return event_json(%e, type => "customer.subscription.$e{type}", data => \%data);
}

sub checkout_event
{
	my %e = @_;

	return event_json(
		%e,
		type => 'checkout.session.completed',
		data => {
			object => {
				id => "cs_$e{id}", object => 'checkout.session', mode => 'subscription', payment_status => 'paid',
				subscription => $e{sub}, customer => $e{customer}, metadata => $e{user} ? { userId => $e{user} } : {} }
		});
}

# invoice.payment_failed of a renewal
sub invoice_event
{
	my %e = (price => 'price_pro', @_);

	return event_json(
		%e,
		type => 'invoice.payment_failed',
		data => {
			object => {
				id => "in_$e{id}", object => 'invoice', customer => $e{customer},
				billing_reason => 'subscription_cycle', collection_method => 'charge_automatically',
				parent => { subscription_details => { subscription => $e{sub} } },
				lines => {
					data => [
						{ period => { start => $e{start}, end => $e{end} },
							pricing => { price_details => { price => $e{price} } } } ] } }
		});
}

sub event_json
{
	my %e = @_;

	return JSON::PP->new->canonical->encode({
		id => $e{id}, object => 'event', type => $e{type}, created => int($e{created}),
		livemode => JSON::PP::false, data => $e{data} });
}

# A file as secrets want it: the server's user's alone.
sub write_file
{
	my ($path, $content, $mode) = @_;

	open(my $file, '>', $path) or die "could not open $path: $!";
	print $file $content;
	close($file);
	chmod($mode // 0600, $path) or die "could not chmod $path: $!";
}

# The header that Stripe sends with a body.
sub sign
{
	my ($body, $secret, $time) = @_;

	$time //= time();
	return "t=$time,v1=" . hmac_sha256_hex("$time.$body", $secret // $SECRET);
}

# The body through receive_webhook(bytea): whether it was a duplicate.
sub receive
{
	my ($node, $database, $body, $header) = @_;

	$header //= sign($body);
	return $node->safe_psql($database,
		"SELECT duplicate FROM momento_billing.receive_webhook(decode('" . unpack('H*', $body) . "', 'hex'), '$header')");
}

# Change settings of a running server.
sub settings
{
	my ($node, %settings) = @_;

	while (my ($name, $value) = each %settings)
	{
		$node->safe_psql('postgres', "ALTER SYSTEM SET $name = '$value'");
	}
	$node->reload;
}

# How often something stands in the server's log from an offset on.
sub log_count
{
	my ($node, $pattern, $offset) = @_;
	my @found = slurp_file($node->logfile, $offset // 0) =~ /$pattern/g;

	return scalar @found;
}

# Everything that our tables hold, as text, for comparing databases.
sub all_rows
{
	my ($node, $database) = @_;
	my @tables = split(/\n/, $node->safe_psql($database, <<'SQL'));
SELECT oid::regclass FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'momento_billing'::regnamespace ORDER BY relname
SQL
	my %rows;

	foreach my $table (@tables, 'public."Subscription"')
	{
		$rows{$table} = $node->safe_psql($database, "SELECT t::text FROM $table AS t ORDER BY 1");
	}
	return \%rows;
}

# Wait until a query answers 't', and make that a test.
sub wait_for
{
	my ($node, $database, $query, $name) = @_;

	ok($node->poll_query_until($database, $query), $name);
}

1;
