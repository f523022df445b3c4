/*
 * chain.h
 *	  The order of events of one second, by what each of them found.  Pure.
 *
 * Each event leads from the state that it found (its object overlaid with its
 * previous_attributes) to the state that it shows; one that does not say what
 * it found leads nowhere else.  If these steps make one trail, that is the
 * order in which they happened (R21).
 */
#ifndef MB_CHAIN_H
#define MB_CHAIN_H

#include "event.h"

/* More events of one second than this are not put in order. */
#define MB_MAX_CHAIN 64

typedef enum MbChain
{
	MB_CHAIN_NONE,				/* no trail */
	MB_CHAIN_CIRCUIT,			/* one that may begin, and end, anywhere */
	MB_CHAIN_TRAIL
} MbChain;

/*
 * Put at most MB_MAX_CHAIN events into the order of their trail, if there is
 * one; else leave them sorted by id.  Their "before" must have been read.
 */
extern MbChain mb_chain_order(const MbEvent **events, int n);

/*
 * Of events that tell the same change (R23), keep the one with the greatest
 * id; returns how many are left.
 */
extern int	mb_chain_leave_out_doubles(const MbEvent **events, int n);

/* Do two events show the same, as far as all API versions tell it? */
extern bool mb_chain_same_state(const MbEvent *a, const MbEvent *b);

#endif							/* MB_CHAIN_H */
