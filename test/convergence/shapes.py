"""An event of the model as JSON, in the shape of one of Stripe's API versions."""

import json
from hashlib import blake2b

from stripe_model import ADD_ON, PRICES


class Version:
    def __init__(self, name, items_have_period, has_price, has_details):
        self.name = name
        self.items_have_period = items_have_period  # from basil on
        self.has_price = has_price  # before, items had a plan only
        self.has_details = has_details  # mode and payment_status of a checkout


VERSIONS = (
    Version('2019-12-03', False, False, False),
    Version('2019-12-03', False, True, True),  # the same version, as it is sent today
    Version('2020-08-27', False, True, True),
    Version('2022-11-15', False, True, True),
    Version('2024-09-30.acacia', False, True, True),
    Version(None, False, True, True),
    Version('2025-03-31.basil', True, True, True),
    Version('2025-09-30.clover', True, True, True),
    Version('2026-03-25.dahlia', True, True, True),
    Version('2026-10-28.endive', True, True, True),
    Version(None, True, True, True),
)


class Dice:
    """The free choices of one rendering: a number, spent digit by digit."""

    def __init__(self, *seed):
        self.left = int.from_bytes(blake2b('/'.join(map(str, seed)).encode(), digest_size=32).digest(), 'big')

    def roll(self, sides):
        self.left, rolled = divmod(self.left, sides)
        return rolled


def render(event, salt):
    """The event's JSON text; another salt gives another shape of it."""
    dice = Dice(event.id, event.type, event.created, salt)
    version = VERSIONS[dice.roll(len(VERSIONS))]
    return json.dumps(WRITERS[event.kind](event, version, dice), separators=(',', ':'))


def envelope(event, version, dice, object, previous=None):
    data = {'object': object}
    if previous is not None:
        data['previous_attributes'] = previous
    request = (None, 'req_1', {'id': None, 'idempotency_key': None})[dice.roll(3)]
    return {'id': event.id, 'object': 'event', 'api_version': version.name, 'created': event.created, 'data': data,
            'livemode': True, 'pending_webhooks': 1, 'request': request, 'type': event.type}


def customer(id, dice):
    """R7: a string or an object, deleted or not."""
    rolled = dice.roll(12)
    if rolled == 0:
        return {'id': id, 'object': 'customer', 'email': 'user@example.com', 'metadata': {}}
    if rolled == 1:
        return {'id': id, 'object': 'customer', 'deleted': True}
    return id


##############################################################################
# Subscriptions
##############################################################################

def plan(price):
    return {'id': price.id, 'object': 'plan', 'active': True, 'amount': 1200, 'currency': 'eur',
            'interval': price.interval, 'interval_count': price.count, 'metadata': {}, 'product': 'prod_1'}


def price_object(price):
    return {'id': price.id, 'object': 'price', 'active': True, 'currency': 'eur', 'metadata': {}, 'product': 'prod_1',
            'recurring': {'interval': price.interval, 'interval_count': price.count, 'usage_type': 'licensed'},
            'type': 'recurring', 'unit_amount': 1200}


def item(id, price, quantity, period, version, dice):
    result = {'id': id, 'object': 'subscription_item', 'created': period[0], 'metadata': {}, 'quantity': quantity}
    if version.has_price:
        result['price'] = price.id if dice.roll(10) == 0 else price_object(price)
    if not version.has_price or dice.roll(3):
        result['plan'] = plan(price)
    if version.items_have_period:
        result['current_period_start'], result['current_period_end'] = period
    return result


def items(fields, version, dice):
    start, end = fields['start'], fields['end']
    data = [item(fields['item'], PRICES[fields['price']], fields['quantity'], (start, end), version, dice)]
    if fields['addon']:
        # from basil on an item may have an interval of its own (R3)
        data.append(item(fields['addon'], PRICES[ADD_ON], 1, (start - 5, start + 31536000), version, dice))
        if dice.roll(2):
            data.reverse()
    return data


def subscription(event, version, dice):
    fields = event.body
    own = {
        'id': fields['id'], 'object': 'subscription', 'application': None, 'billing_cycle_anchor': fields['created'],
        'cancel_at': fields['cancel_at'], 'cancel_at_period_end': fields['cancel_at_period_end'],
        'canceled_at': fields['canceled_at'], 'collection_method': fields['collection'], 'created': fields['created'],
        'currency': 'eur', 'customer': customer(fields['customer'], dice), 'default_payment_method': None,
        'ended_at': fields['ended_at'], 'latest_invoice': fields['invoice'], 'livemode': True,
        'metadata': metadata(fields), 'pause_collection': pause_collection(fields['pause_collection']),
        'pending_update': pending_update(fields['pending_update']), 'start_date': fields['created'],
        'status': fields['status'], 'trial_end': fields['trial_end'], 'trial_start': fields['trial_start'],
    }
    data = items(fields, version, dice)
    own['items'] = {'object': 'list', 'data': data, 'has_more': False, 'url': '/v1/subscription_items'}
    # Stripe has not always told the reason.  It is left out where nothing
    # hangs on it, of an event in each of its shapes or in none.
    if fields['reason'] == 'payment_disputed' or Dice(event.id).roll(4):
        own['cancellation_details'] = {'comment': None, 'feedback': None, 'reason': fields['reason']}
    if not version.items_have_period:
        own['current_period_start'], own['current_period_end'] = fields['start'], fields['end']
        if not fields['addon'] and dice.roll(4):
            own['plan'], own['quantity'] = plan(PRICES[fields['price']]), fields['quantity']
    return envelope(event, version, dice, own, previous_attributes(event, own, version, dice))


def metadata(fields):
    result = {}
    if fields['user']:
        result['userId'] = fields['user']
    if fields['note']:
        result['note'] = fields['note']
    return result


def pause_collection(behavior):
    return behavior and {'behavior': behavior, 'resumes_at': None}


def pending_update(price):
    return price and {'expires_at': 1, 'subscription_items': [{'price': price}]}


def previous_attributes(event, own, version, dice):
    """What the update replaced, in the shape of this very version."""
    before = event.before
    if before is None:
        return None
    old = {**event.body, **before}
    previous = {}
    for key in before:
        if key in ('status', 'cancel_at', 'cancel_at_period_end', 'canceled_at', 'ended_at', 'trial_end', 'trial_start'):
            previous[key] = before[key]
        elif key == 'invoice':
            previous['latest_invoice'] = before[key]
        elif key == 'pause_collection':
            previous[key] = pause_collection(before[key])
        elif key == 'pending_update':
            previous[key] = pending_update(before[key])
        elif key in ('user', 'note'):
            previous['metadata'] = {name: metadata(old).get(name) for name in {**metadata(old), **own['metadata']}
                                    if metadata(old).get(name) != own['metadata'].get(name)}
        elif key in ('start', 'end') and not version.items_have_period:
            previous['current_period_' + key] = before[key]
        elif key in ('start', 'end', 'price', 'quantity', 'addon'):
            previous['items'] = None
    if 'items' in previous:
        previous['items'] = {'data': items(old, version, dice)}
        if 'plan' in own and 'price' in before:
            previous['plan'] = plan(PRICES[before['price']])
        if 'quantity' in own and 'quantity' in before:
            previous['quantity'] = before['quantity']
    return previous


##############################################################################
# Invoices
##############################################################################

def invoice(event, version, dice):
    fields = event.body
    reason = fields['reason']
    # the name that it had before 2018, and that legacy invoices keep
    if reason == 'subscription_cycle' and not version.has_price and dice.roll(2):
        reason = 'subscription'
    own = {
        'id': fields['id'], 'object': 'invoice', 'amount_due': 1200, 'attempt_count': 1, 'attempted': True,
        'billing_reason': reason, 'collection_method': fields['collection'], 'created': fields['start'],
        'currency': 'eur', 'customer': customer(fields['customer'], dice),
        'lines': {'object': 'list', 'data': [line(fields, *one, version, dice) for one in fields['lines']],
                  'has_more': False, 'url': '/v1/invoices/lines'},
        'livemode': True, 'metadata': {},
        # R10: looks backward
        'period_start': fields['start'] - 2592000, 'period_end': fields['start'],
        'status': 'paid' if event.type in ('invoice.paid', 'invoice.payment_succeeded') else 'open',
    }
    if fields['id'] is None:
        del own['id']
    reference = fields['subscription']
    snapshot = {'userId': fields['user']} if fields['user'] else {}
    if version.items_have_period:
        own['parent'] = reference and {
            'type': 'subscription_details', 'quote_details': None,
            'subscription_details': {'metadata': snapshot, 'subscription': expanded(reference, dice)}}
        if dice.roll(2):
            own['subscription'] = None
    else:
        own['subscription'] = reference and expanded(reference, dice)
        if version.name == '2024-09-30.acacia':
            own['subscription_details'] = {'metadata': snapshot}
    return envelope(event, version, dice, own)


def expanded(id, dice):
    return {'id': id, 'object': 'subscription'} if dice.roll(10) == 0 else id


def line(fields, price_id, start, end, proration, version, dice):
    price = PRICES[price_id]
    own = {'id': f'il_{dice.roll(1 << 30):x}', 'object': 'line_item', 'amount': 1200, 'currency': 'eur',
           'metadata': {}, 'period': {'start': start, 'end': end}, 'quantity': 1}
    if version.items_have_period:
        own['parent'] = {'type': 'subscription_item_details', 'invoice_item_details': None,
                         'subscription_item_details': {'invoice_item': None, 'proration': proration,
                                                       'subscription': fields['subscription'],
                                                       'subscription_item': fields['item']}}
        own['pricing'] = {'type': 'price_details', 'unit_amount_decimal': '1200',
                          'price_details': {'price': price.id, 'product': 'prod_1'}}
        return own
    own.update(proration=proration, subscription=fields['subscription'], subscription_item=fields['item'],
               type='invoiceitem' if proration else 'subscription')
    if version.has_price:
        own['price'] = price_object(price)
    if not version.has_price or dice.roll(2):
        own['plan'] = plan(price)
    return own


##############################################################################
# Checkouts and the rest
##############################################################################

def checkout(event, version, dice):
    fields = event.body
    own = {'id': fields['id'], 'object': 'checkout.session', 'cancel_url': None, 'client_reference_id': fields['reference'],
           'customer': customer(fields['customer'], dice), 'livemode': True, 'metadata': {},
           'payment_method_types': ['card'],
           'subscription': fields['subscription'] and expanded(fields['subscription'], dice)}
    if fields['user']:
        own['metadata']['userId'] = fields['user']
    if fields['promise']:
        own['metadata'][fields['promise'][0]] = fields['promise'][1]
    # The first sessions had neither, and none of them could be unpaid.
    if version.has_details or fields['paid'] == 'unpaid':
        own.update(mode=fields['mode'], payment_status=fields['paid'], status='complete')
    return envelope(event, version, dice, own)


def deleted_customer(event, version, dice):
    return envelope(event, version, dice, {'id': event.body['id'], 'object': 'customer', 'metadata': {},
                                           **({'deleted': True} if dice.roll(2) else {})})


def thin(event, version, dice):
    return {'id': event.id, 'object': 'v2.core.event', 'type': 'v1.billing.meter.no_meter_found',
            'created': '2025-01-01T00:00:00.000Z', 'livemode': True, 'related_object': None}


def sample(event, version, dice):
    zeros = '0' * 14
    return envelope(event, version, dice, {
        'id': 'sub_' + zeros, 'object': 'subscription', 'customer': 'cus_' + zeros, 'status': 'active',
        'metadata': {'userId': 'user_sample'}, 'cancel_at_period_end': False, 'cancel_at': None,
        'items': {'object': 'list', 'data': []}, 'current_period_start': 1, 'current_period_end': 2})


def other(event, version, dice):
    return envelope(event, version, dice, {'id': event.body['id'], 'object': 'thing',
                                           'metadata': {'userId': event.body['user']}})


def link(event, version, dice):
    return event.body


WRITERS = {'subscription': subscription, 'invoice': invoice, 'checkout': checkout, 'customer': deleted_customer,
           'thin': thin, 'sample': sample, 'other': other, 'link': link}
