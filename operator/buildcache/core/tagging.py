"""The tags of managed parts, compared key by key: what we set is kept and taken away again, what others set is left alone.

Which keys came from `spec.tags` is written on the part itself, as short hashes in a tag of our own: a status can be lost, and a part
must not keep a tag for ever because of that. Why hashes: 40 keys of up to 128 characters do not fit into a value of 256.
"""

import hashlib
from collections.abc import Mapping

from .action import Action, Resource, TagResource, Tags, UntagResource
from .names import KEYS_TAG, POLICY_TAG, Identity, owner_tags
from .plan import Plan

_DIGITS = 6
"""Of each key's hash: 40 keys, the most that a spec may have, make 240 characters."""


def wanted_tags(user: Tags, identity: Identity, *, retain: bool) -> Mapping[str, str]:
    """All tags of a part: the user's, our owner tags, the policy of its end, and the record of the user's keys."""
    record = {KEYS_TAG: "".join(sorted(_key_hash(key) for key in user))} if user else {}
    return {**user, **owner_tags(identity), **policy_tag(retain=retain), **record}


def policy_tag(*, retain: bool) -> Mapping[str, str]:
    """The tag by which somebody who finds a part knows whether it was left on purpose."""
    return {POLICY_TAG: "Retain" if retain else "Delete"}


def plan_tags(part: str, resource: Resource, want: Tags, have: Tags) -> Plan:
    """What to take away, then what to set: the record goes last, so that a key whose removal failed is not forgotten."""
    record = have.get(KEYS_TAG, "")
    ours = {record[start : start + _DIGITS] for start in range(0, len(record), _DIGITS)}
    surplus = frozenset(key for key in have if key not in want and (key == KEYS_TAG or _key_hash(key) in ours))
    missing = {key: value for key, value in want.items() if have.get(key) != value}
    actions: list[Action] = []
    if surplus:
        actions.append(UntagResource(part, resource, surplus))
    if missing:
        actions.append(TagResource(part, resource, missing))
    return Plan(tuple(actions))


def _key_hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:_DIGITS]
