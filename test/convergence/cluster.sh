# shellcheck shell=bash
# The server of the convergence proof.  Sourced beside script/lib.sh.

# start_convergence_cluster FOLDER: a database per way of delivery; two of
# them have a worker.
start_convergence_cluster()
{
	start_cluster "$1" converge_order converge_worker converge_clients converge_batch converge_parts converge_prices converge_lab <<-CONF
		shared_preload_libraries = 'momento_billing'
		momento_billing.databases = 'converge_worker, converge_batch'
		momento_billing.naptime = '1s'
		log_line_prefix = '%m [%p] %b %d '
		shared_buffers = '256MB'
		max_wal_size = '4GB'
	CONF
}
