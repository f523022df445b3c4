/*
 * momento_billing.c
 *	  Entry of the library; what it does is in src/, whose README is the map.
 */
#include "postgres.h"

#include "fmgr.h"

#include "app_binding.h"
#include "catalog.h"
#include "early.h"
#include "settings.h"
#include "spi.h"
#include "stats.h"
#include "worker.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

/* Settings, callbacks and, when preloaded, shared memory and workers. */
void
_PG_init(void)
{
	mb_settings_init();
	mb_spi_init();
	mb_catalog_init();
	mb_binding_init();
	mb_stats_init();
	mb_early_init();
	mb_worker_init();
}
