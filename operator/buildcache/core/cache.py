"""The plan of a BuildCache: the pure difference between what is wanted and what AWS has.

Level-based: nothing here knows what happened or what the status says of the past, so a repair, an update and a first creation are the
same thing. A plan holds what can be done now, in order; what it must wait for, in words; and conflicts, which only a person can solve.
Things without our owner tags are never the object of an action.
"""

from collections.abc import Mapping

from . import action as act
from .action import Action
from .cache_access_points import mounting_executors, plan_access_points
from .cache_file_system import plan_file_system, subnet_conflicts
from .desired import ANYWHERE, NFS, DesiredCache, DesiredExecutor
from .names import CONTENT_HASH_TAG, GroupRole
from .observed import ACTIVE, ObservedCache, Rule, SecurityGroup, TaskRevision
from .plan import Conflict, Plan, Use, foreign
from .status import BUILD_GROUP_PART, CACHE_GROUP_PART, LOG_GROUP_PART, REPOSITORY_PART, Reason, executor_part
from .tagging import plan_tags

CLUSTER_PART = "cluster"


def plan(want: DesiredCache, have: ObservedCache, use: Use | None = None) -> Plan:
    """All that is different, in the order of creation."""
    use = use or Use()
    return (
        Plan(conflicts=network_conflicts(want, have))
        + _groups(want, have)
        + plan_file_system(want, have, use)
        + plan_access_points(want, have, use)
        + _repository(want, have)
        + _log_group(want, have)
        + _executors(want, have, use)
    )


# --- network ---------------------------------------------------------------------------------------------------------------------


def network_conflicts(want: DesiredCache, have: ObservedCache) -> tuple[Conflict, ...]:
    """Subnets and security groups of the spec that do not exist or belong to another VPC."""
    return subnet_conflicts(want, have) + _group_conflicts(want, have)


def _group_conflicts(want: DesiredCache, have: ObservedCache) -> tuple[Conflict, ...]:
    if have.given_groups is None:
        return ()
    found = []
    for position, group_id in enumerate(want.given_groups):
        path = f"spec.network.securityGroupIDs[{position}]"
        vpc_id = have.given_groups.get(group_id)
        if vpc_id is None:
            message = f"{path}: security group {group_id} does not exist in {want.region}; correct the id"
            found.append(Conflict(BUILD_GROUP_PART, Reason.NOT_FOUND, message))
        elif vpc_id != want.vpc_id:
            message = f"{path}: security group {group_id} is in {vpc_id}, not in spec.network.vpcID {want.vpc_id}"
            found.append(Conflict(BUILD_GROUP_PART, Reason.INVALID_SPEC, message))
    return tuple(found)


def build_groups(want: DesiredCache, have: ObservedCache) -> frozenset[str]:
    """The groups of build tasks: those given, else ours once it is there."""
    if want.given_groups:
        return frozenset(want.given_groups)
    return frozenset({have.build_group.id}) if have.build_group is not None and have.build_group.owned else frozenset()


def _groups(want: DesiredCache, have: ObservedCache) -> Plan:
    result = Plan()
    if not want.given_groups:
        result += _group(want, "build", have.build_group, ingress=frozenset(), egress=ANYWHERE)
    if want.file_system is not None:
        builders = build_groups(want, have)
        ingress = frozenset(Rule("tcp", NFS, NFS, group) for group in builders)
        # Without the builders' group yet, the rules stay as they are: what a running build mounts through goes last.
        # The same holds while the spec names a group that EC2 does not have: no rule can refer to it.
        known = builders and not _group_conflicts(want, have)
        if known or have.cache_group is None:
            result += _group(want, "cache", have.cache_group, ingress=ingress, egress=frozenset())
    elif have.cache_group is not None and have.cache_group.owned and not want.retain and not _is_mounted(have):
        result += Plan((act.DeleteSecurityGroup("cache", have.cache_group.id),))
    if want.given_groups and have.build_group is not None and have.build_group.owned and not want.retain:
        result += _unused_build_group(have.build_group, have.cache_group)
    return result


def _group(
    want: DesiredCache,
    role: GroupRole,
    have: SecurityGroup | None,
    *,
    ingress: frozenset[Rule],
    egress: frozenset[Rule],
) -> Plan:
    name = want.build_group_name if role == "build" else want.cache_group_name
    if have is None:
        description = f"buildcache-operator: {role} group of a build cache"
        return Plan((act.CreateSecurityGroup(role, name, description, want.vpc_id, want.tags),))
    if not have.owned:
        part = BUILD_GROUP_PART if role == "build" else CACHE_GROUP_PART
        return Plan(conflicts=(foreign(part, f"security group {have.id} ({name})"),))
    # What is missing first, so that no moment is without the rule that a running build needs.
    actions: list[Action] = []
    if missing := ingress - have.ingress:
        actions.append(act.AuthorizeRules(role, have.id, "ingress", missing))
    if missing := egress - have.egress:
        actions.append(act.AuthorizeRules(role, have.id, "egress", missing))
    if surplus := have.ingress - ingress:
        actions.append(act.RevokeRules(role, have.id, "ingress", surplus))
    if surplus := have.egress - egress:
        actions.append(act.RevokeRules(role, have.id, "egress", surplus))
    part = BUILD_GROUP_PART if role == "build" else CACHE_GROUP_PART
    return Plan(tuple(actions)) + plan_tags(part, act.Resource("ec2", have.id), want.tags, have.tags)


def _unused_build_group(group: SecurityGroup, cache_group: SecurityGroup | None) -> Plan:
    """Our build group after the spec has named others: it can go once the cache's group no longer refers to it."""
    if refers_to(cache_group, group):
        if cache_group is not None and not cache_group.owned:
            thing = f"security group {cache_group.id}, whose rule keeps ours from being removed,"
            return Plan(conflicts=(foreign(CACHE_GROUP_PART, thing),))
        return Plan(waiting=(f"security group {group.id} is still named by a rule",))
    return Plan((act.DeleteSecurityGroup("build", group.id),))


def _is_mounted(have: ObservedCache) -> bool:
    return have.file_system is not None and bool(have.mounts)


def refers_to(group: SecurityGroup | None, other: SecurityGroup) -> bool:
    """Whether a rule of `group` names `other`, which AWS then refuses to delete."""
    return group is not None and any(rule.peer == other.id for rule in group.ingress | group.egress)


# --- registry and logs -----------------------------------------------------------------------------------------------------------


def _repository(want: DesiredCache, have: ObservedCache) -> Plan:
    repository, found = want.repository, have.repository
    if repository is None:
        if found is not None and found.owned and want.repository_managed and not want.retain:
            return Plan((act.DeleteRepository(found.name),))
        return Plan()
    if not repository.managed:
        if found is None:
            message = f"spec.registry.repositoryName: repository {repository.name} does not exist in {want.region}"
            return Plan(conflicts=(Conflict(REPOSITORY_PART, Reason.NOT_FOUND, message),))
        return Plan()
    if found is None:
        return Plan((act.CreateRepository(repository.name, repository.kms_key, want.tags),))
    if not found.owned:
        return Plan(conflicts=(foreign(REPOSITORY_PART, f"repository {repository.name}", found.tags, want.identity),))
    conflicts: tuple[Conflict, ...] = ()
    if repository.kms_key is not None and repository.kms_key != found.kms_key:
        message = f"spec.registry.kmsKeyARN: repository {found.name} keeps the encryption that it was created with"
        conflicts = (Conflict(REPOSITORY_PART, Reason.IMMUTABLE_FIELD, message),)
    actions: list[Action] = []
    if found.mutability != "MUTABLE":
        actions.append(act.MakeTagsMutable(found.name))
    if repository.policy is None and found.policy is not None:
        actions.append(act.DeleteLifecyclePolicy(found.name))
    elif repository.policy is not None and repository.policy != found.policy:
        actions.append(act.PutLifecyclePolicy(found.name, repository.policy))
    tags = plan_tags(REPOSITORY_PART, act.Resource("ecr", found.arn), want.tags, found.tags)
    return Plan(tuple(actions), conflicts=conflicts) + tags


def _log_group(want: DesiredCache, have: ObservedCache) -> Plan:
    found = have.log_group
    if found is None:
        return Plan((act.CreateLogGroup(want.log_group, want.tags),))
    if not found.owned:
        return Plan(conflicts=(foreign(LOG_GROUP_PART, f"log group {found.name}", found.tags, want.identity),))
    tags = plan_tags(LOG_GROUP_PART, act.Resource("logs", found.arn), want.tags, found.tags)
    if found.retention_days != want.log_retention_days:
        return Plan((act.PutRetention(found.name, want.log_retention_days),)) + tags
    return tags


# --- executors -------------------------------------------------------------------------------------------------------------------


def current_revision(executor: DesiredExecutor, have: ObservedCache) -> TaskRevision | None:
    """The newest of our revisions with the wanted content."""
    return _newest(executor, have, executor.definition.content_hash)


def usable_revision(want: DesiredCache, executor: DesiredExecutor, have: ObservedCache) -> TaskRevision | None:
    """The current revision, else the newest older one: a Build need not wait for an update.

    One that writes to another log group is of an earlier release. It is not offered any more: Builds look for their reports in the group
    that the status names.
    """
    return current_revision(executor, have) or _newest(executor, have, None, want.log_group)


def _newest(
    executor: DesiredExecutor, have: ObservedCache, content_hash: str | None, log_group: str | None = None
) -> TaskRevision | None:
    ours = [
        revision
        for revision in have.revisions
        if revision.owned
        and revision.family == executor.family
        and content_hash in (None, revision.content_hash)
        and (log_group is None or revision.log_group in ("", log_group))
    ]
    return max(ours, key=lambda revision: revision.revision, default=None)


def _executors(want: DesiredCache, have: ObservedCache, use: Use) -> Plan:
    result = Plan()
    if have.cluster_state != ACTIVE:
        state = "does not exist" if have.cluster_state is None else f"is {have.cluster_state}"
        message = f"spec.clusterARN: cluster {want.cluster_arn} {state}: create it, or name another one"
        result += Plan(conflicts=(Conflict(CLUSTER_PART, Reason.CLUSTER_NOT_FOUND, message),))
    keep = set(use.running)
    for executor in (*want.executors, *mounting_executors(want, have)):
        current = current_revision(executor, have)
        ours = {each.arn for each in have.revisions if each.owned and each.family == executor.family}
        if current is None:
            result += Plan((act.RegisterTaskDefinition(executor.name, executor.definition, want.tags),))
            keep |= ours
        elif current.arn in use.published:
            keep.add(current.arn)
        else:
            # Until the status names the new revision, a Build that starts now is still given the old one.
            if ours - use.running - {current.arn}:
                result += Plan(waiting=(f"older task definitions of executor {executor.name} are about to be retired",))
            keep |= ours
        if current is not None:
            resource = act.Resource("ecs", current.arn)
            tags = {**want.tags, CONTENT_HASH_TAG: executor.definition.content_hash}
            result += plan_tags(executor_part(executor.name), resource, tags, current.tags)
    unused = [revision for revision in have.revisions if revision.owned and revision.arn not in keep]
    return result + Plan(tuple(act.DeregisterTaskDefinition(revision.arn) for revision in unused))


def executor_parts(want: DesiredCache, have: ObservedCache) -> Mapping[str, TaskRevision]:
    """Part name → the revision that Builds are to use."""
    executors = (*want.executors, *mounting_executors(want, have))
    found = {executor_part(each.name): usable_revision(want, each, have) for each in executors}
    return {part: revision for part, revision in found.items() if revision is not None}
