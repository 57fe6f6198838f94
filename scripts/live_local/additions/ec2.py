"""Flow logs with their role, interval and tags; endpoints with their DNS and security groups; rules
for all protocols, which have no ports.
"""

from __future__ import annotations

import re
from typing import Any
from xml.sax.saxutils import escape

from ministack.services import ec2

_LOG_FORMAT = (
    "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} ${dstport} "
    "${protocol} ${packets} ${bytes} ${start} ${end} ${action} ${log-status}"
)


def install() -> None:
    _install_flow_logs()
    _install_endpoints()
    _install_rules()


def _install_flow_logs() -> None:
    create = ec2._create_flow_logs

    def create_flow_logs(asked: Any) -> Any:
        answer = create(asked)
        for made in re.findall(r"\bfl-[0-9a-f]{17}\b", answer[2].decode()):
            ec2._flow_logs[made] |= {
                "Role": ec2._p(asked, "DeliverLogsPermissionArn"),
                "Interval": ec2._p(asked, "MaxAggregationInterval") or "600",
                "Format": ec2._p(asked, "LogFormat") or _LOG_FORMAT,
            }
            ec2._parse_tag_specs(asked, "vpc-flow-log", made)
        return answer

    def describe_flow_logs(asked: Any) -> Any:
        wanted = ec2._parse_member_list(asked, "FlowLogId")
        # In the SDKs' models this list is the one that is named `Filter`.
        filters = ec2._parse_filters(asked)
        found = [
            _flow_log(log)
            for log in ec2._flow_logs.values()
            if (not wanted or log["FlowLogId"] in wanted)
            and ec2._resource_matches_tag_filters(log["FlowLogId"], filters)
            and log["ResourceId"] in (filters.get("resource-id") or [log["ResourceId"]])
        ]
        items = f"<flowLogSet>{''.join(found)}</flowLogSet>"
        return ec2._xml(200, "DescribeFlowLogsResponse", items)

    ec2._ACTION_MAP["CreateFlowLogs"] = create_flow_logs
    ec2._ACTION_MAP["DescribeFlowLogs"] = describe_flow_logs


def _flow_log(log: Any) -> str:
    kind, destination = log["LogDestinationType"], log.get("LogDestination", "")
    fields = {
        "flowLogId": log["FlowLogId"],
        "resourceId": log["ResourceId"],
        "trafficType": log["TrafficType"],
        "logDestinationType": kind,
        "logDestination": destination,
        "logGroupName": destination.rpartition(":log-group:")[2] if "cloud" in kind else "",
        "deliverLogsPermissionArn": log.get("Role", ""),
        "maxAggregationInterval": log.get("Interval", "600"),
        "logFormat": log.get("Format", _LOG_FORMAT),
        "flowLogStatus": log["FlowLogStatus"],
        "deliverLogsStatus": "SUCCESS",
        "creationTime": log["CreationTime"],
    }
    told = [f"<{name}>{escape(str(value))}</{name}>" for name, value in fields.items() if value]
    return f"<item>{''.join(told)}{ec2._tag_set_xml(log['FlowLogId'])}</item>"


def _install_endpoints() -> None:
    create, modify, fields_of = (
        ec2._create_vpc_endpoint,
        ec2._modify_vpc_endpoint,
        ec2._vpce_fields_xml,
    )

    def create_endpoint(asked: Any) -> Any:
        status, headers, body = create(asked)
        found = re.search(r"\bvpce-[0-9a-f]{17}\b", body.decode())
        if status != 200 or found is None:
            return status, headers, body
        endpoint = ec2._vpc_endpoints[found.group()]
        endpoint |= {
            "PrivateDns": ec2._p(asked, "PrivateDnsEnabled") == "true",
            "Groups": ec2._parse_member_list(asked, "SecurityGroupId"),
            "PolicyDocument": ec2._p(asked, "PolicyDocument"),
        }
        told = ec2._vpce_fields_xml(endpoint, tag="vpcEndpoint")
        return ec2._xml(200, "CreateVpcEndpointResponse", told)

    def modify_endpoint(asked: Any) -> Any:
        answer = modify(asked)
        endpoint = ec2._vpc_endpoints.get(ec2._p(asked, "VpcEndpointId"))
        if endpoint is not None:
            gone = ec2._parse_member_list(asked, "RemoveSecurityGroupId")
            added = ec2._parse_member_list(asked, "AddSecurityGroupId")
            kept = [group for group in endpoint.get("Groups", []) if group not in gone]
            endpoint["Groups"] = list(dict.fromkeys(kept + added))
            if private := ec2._p(asked, "PrivateDnsEnabled"):
                endpoint["PrivateDns"] = private == "true"
        return answer

    def endpoint_xml(endpoint: Any, tag: str = "item") -> str:
        groups = "".join(
            f"<item><groupId>{group}</groupId></item>" for group in endpoint.get("Groups", [])
        )
        more = (
            f"<groupSet>{groups}</groupSet>"
            f"<privateDnsEnabled>{str(endpoint.get('PrivateDns', False)).lower()}"
            "</privateDnsEnabled>"
        )
        if policy := endpoint.get("PolicyDocument"):
            more += f"<policyDocument>{escape(policy)}</policyDocument>"
        whole: str = fields_of(endpoint, tag)
        return whole.removesuffix(f"</{tag}>") + f"{more}</{tag}>"

    ec2._vpce_fields_xml = endpoint_xml
    ec2._ACTION_MAP["CreateVpcEndpoint"] = create_endpoint
    ec2._ACTION_MAP["ModifyVpcEndpoint"] = modify_endpoint


def _install_rules() -> None:
    """The ports of a rule for all protocols say nothing. The provider names them when it revokes a
    new group's egress, and ministack then finds no such rule: every group could call anywhere.
    """
    parse = ec2._parse_ip_permissions

    def parse_rules(asked: Any, prefix: str) -> Any:
        rules = parse(asked, prefix)
        for rule in rules:
            if rule["IpProtocol"] == "-1":
                rule.pop("FromPort", None)
                rule.pop("ToPort", None)
        return rules

    ec2._parse_ip_permissions = parse_rules
