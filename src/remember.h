/*
 * remember.h
 *	  Which events a subscription has to remember, beside those that hold its
 *	  registers, so that later ones can be put in order with them.  Pure.
 */
#ifndef MB_REMEMBER_H
#define MB_REMEMBER_H

#include "subscription.h"

/*
 * The ties of a subscription after an event was applied to it: events of a
 * second that a register refers to, and what no register holds since it was
 * last seen live.  For each second no
 * more than one beyond MB_MAX_CHAIN, since then only ids count.  "ties" has
 * room for before->nties + npeers + 6; returns how many there are.
 */
extern int	mb_remember_ties(const MbSubscription *before, const MbSubscription *after, const MbEvent *event,
							 const MbEvent *const *peers, int npeers, MbTie *ties);

#endif							/* MB_REMEMBER_H */
