# momento_billing: built with PGXS, against the server that PG_CONFIG names.

MODULE_big = momento_billing
OBJS = momento_billing.o $(sort $(patsubst $(srcdir)/%.c,%.o,$(wildcard $(srcdir)/src/*.c)))
EXTENSION = momento_billing
EXTVERSION = $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" $(srcdir)/momento_billing.control)
# The install script and the upgrade steps.
DATA = $(sort $(wildcard $(srcdir)/sql/momento_billing--*.sql))

# A callback and an SQL function take arguments that they may not need.
PG_CPPFLAGS = -I$(srcdir)/src -Wall -Wextra -Wno-unused-parameter -DMB_VERSION='"$(EXTVERSION)"'
SHLIB_LINK = -lcrypto
# Only what the SQL scripts name is exported: a symbol of ours must never be
# taken for one of another library in the same server.  A linker's list does
# this on every major; visibility attributes reach the SQL functions only
# from PostgreSQL 16 on.
SHLIB_EXPORTS = exports.txt
EXTRA_CLEAN = exports.txt

# sql/NN_topic.sql with expected/NN_topic.out
REGRESS = $(sort $(patsubst $(srcdir)/sql/%.sql,%,$(wildcard $(srcdir)/sql/[0-9][0-9]_*.sql)))
ISOLATION = $(sort $(patsubst $(srcdir)/test/specs/%.spec,%,$(wildcard $(srcdir)/test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=$(srcdir)/test
TAP_TESTS = 1
PROVE_TESTS = test/t/*.pl

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

exports.txt: $(DATA) $(srcdir)/script/exports.awk
	LC_ALL=C awk -f $(srcdir)/script/exports.awk $(DATA) | LC_ALL=C sort -u >$@

# Every object reads our headers; there are few enough to rebuild all.
$(OBJS): $(wildcard $(srcdir)/src/*.h) $(srcdir)/momento_billing.control

.PHONY: unit bench format format-check

unit:
	$(MAKE) -C $(srcdir)/test/unit check

bench:
	$(srcdir)/bench/run

format:
	$(srcdir)/script/format

format-check:
	$(srcdir)/script/format --check
