# Prints the symbols that the library exports: what every module has, the
# worker's entry, which the postmaster looks up, and the C functions that the
# SQL scripts name, each with its info function.

BEGIN {
	RS = ";"
	print "Pg_magic_func"
	print "_PG_init"
	print "momento_billing_worker_main"
	print "momento_billing_worker_main"
}

/AS 'MODULE_PATHNAME'/ {
	symbol = $0
	if (match(symbol, /'MODULE_PATHNAME', *'[A-Za-z0-9_]+'/)) {
		symbol = substr(symbol, RSTART, RLENGTH)
		sub(/^'MODULE_PATHNAME', *'/, "", symbol)
		sub(/'$/, "", symbol)
	} else {
		sub(/^.*FUNCTION[ \n]+momento_billing\./, "", symbol)
		sub(/[ \n]*\(.*/, "", symbol)
	}
	print symbol
	print "pg_finfo_" symbol
}
