"""What is added to ministack so that `live/` finds again what it has set."""

from __future__ import annotations

import datetime
import json
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from scripts.live_local.accounts import EmulatedAccounts


def unique() -> str:
    return f"added-{uuid.uuid4().hex[:10]}"


def refused(call: Any, **asked: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**asked)
    return str(caught.value.response["Error"]["Code"])


def trust(service: str) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sts:AssumeRole",
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


class TestNetwork:
    def test_a_flow_log_keeps_its_role_interval_and_tags(self, accounts: EmulatedAccounts) -> None:
        ec2 = accounts.session("dev").client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.99.0.0/16")["Vpc"]["VpcId"]
        role = f"arn:aws:iam::{accounts.account_ids['dev']}:role/flow"
        group = f"arn:aws:logs:eu-central-1:{accounts.account_ids['dev']}:log-group:flow"
        made = ec2.create_flow_logs(
            ResourceIds=[vpc],
            ResourceType="VPC",
            TrafficType="ALL",
            LogDestinationType="cloud-watch-logs",
            LogDestination=group,
            DeliverLogsPermissionArn=role,
            MaxAggregationInterval=60,
            TagSpecifications=[
                {"ResourceType": "vpc-flow-log", "Tags": [{"Key": "Name", "Value": "flow"}]}
            ],
        )["FlowLogIds"]

        (log,) = ec2.describe_flow_logs(FlowLogIds=made)["FlowLogs"]
        assert log["DeliverLogsPermissionArn"] == role
        assert log["MaxAggregationInterval"] == 60
        assert log["LogDestination"] == group
        assert log["LogGroupName"] == "flow"
        assert log["Tags"] == [{"Key": "Name", "Value": "flow"}]

    def test_an_endpoint_keeps_its_dns_groups_and_policy(self, accounts: EmulatedAccounts) -> None:
        ec2 = accounts.session("dev").client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.98.0.0/16")["Vpc"]["VpcId"]
        policy = json.dumps({"Statement": [{"Effect": "Allow", "Action": "a<b&c"}]})
        made = ec2.create_vpc_endpoint(
            VpcId=vpc,
            VpcEndpointType="Interface",
            ServiceName="com.amazonaws.eu-central-1.sts",
            SecurityGroupIds=["sg-1", "sg-2"],
            PrivateDnsEnabled=True,
            PolicyDocument=policy,
        )["VpcEndpoint"]
        assert made["PrivateDnsEnabled"]

        def now() -> Any:
            asked = ec2.describe_vpc_endpoints(VpcEndpointIds=[made["VpcEndpointId"]])
            return asked["VpcEndpoints"][0]

        assert [group["GroupId"] for group in now()["Groups"]] == ["sg-1", "sg-2"]
        assert now()["PolicyDocument"] == policy
        ec2.modify_vpc_endpoint(
            VpcEndpointId=made["VpcEndpointId"],
            AddSecurityGroupIds=["sg-3"],
            RemoveSecurityGroupIds=["sg-1"],
            PrivateDnsEnabled=False,
        )
        assert [group["GroupId"] for group in now()["Groups"]] == ["sg-2", "sg-3"]
        assert not now()["PrivateDnsEnabled"]


class TestCluster:
    @pytest.fixture
    def cluster(self, accounts: EmulatedAccounts) -> str:
        session, name = accounts.session("dev"), unique()
        role = session.client("iam").create_role(
            RoleName=name, AssumeRolePolicyDocument=trust("eks.amazonaws.com")
        )["Role"]["Arn"]
        session.client("eks").create_cluster(
            name=name,
            roleArn=role,
            resourcesVpcConfig={"subnetIds": ["subnet-1"]},
            upgradePolicy={"supportType": "STANDARD"},
            zonalShiftConfig={"enabled": True},
            deletionProtection=True,
        )
        return name

    def test_it_keeps_what_it_is_given(self, accounts: EmulatedAccounts, cluster: str) -> None:
        found = accounts.session("dev").client("eks").describe_cluster(name=cluster)["cluster"]

        assert found["upgradePolicy"] == {"supportType": "STANDARD"}
        assert found["zonalShiftConfig"] == {"enabled": True}
        assert found["deletionProtection"] is True

    def test_it_is_deleted_only_once_its_protection_is_off(
        self, accounts: EmulatedAccounts, cluster: str
    ) -> None:
        eks = accounts.session("dev").client("eks")
        assert refused(eks.delete_cluster, name=cluster) == "InvalidRequestException"

        update = eks.update_cluster_config(name=cluster, deletionProtection=False)["update"]
        told = eks.describe_update(name=cluster, updateId=update["id"])["update"]
        assert told["status"] == "Successful"
        eks.delete_cluster(name=cluster)
        assert refused(eks.describe_cluster, name=cluster) == "ResourceNotFoundException"

    def test_a_version_that_eks_has_not_is_refused(self, accounts: EmulatedAccounts) -> None:
        session, name = accounts.session("dev"), unique()
        role = session.client("iam").create_role(
            RoleName=name, AssumeRolePolicyDocument=trust("eks.amazonaws.com")
        )["Role"]["Arn"]
        make = partial(
            session.client("eks").create_cluster,
            name=name,
            roleArn=role,
            resourcesVpcConfig={"subnetIds": ["subnet-1"]},
        )
        assert refused(make, version="1.20") == "InvalidParameterException"
        make(version="1.35")

    def test_an_addon_is_of_a_version_that_its_kubernetes_takes(
        self, accounts: EmulatedAccounts, cluster: str
    ) -> None:
        eks = accounts.session("dev").client("eks")
        offered = eks.describe_addon_versions(addonName="kube-proxy", kubernetesVersion="1.36")
        (addon,) = offered["addons"]
        (version,) = [each["addonVersion"] for each in addon["addonVersions"]]
        assert version == "v1.36.0-eksbuild.25"
        assert eks.describe_cluster(name=cluster)["cluster"]["version"] == "1.36"
        install = partial(eks.create_addon, clusterName=cluster, addonName="kube-proxy")
        code = refused(install, addonVersion="v1.35.3-eksbuild.29")
        assert code == "InvalidParameterException"
        install(addonVersion=version)

    def test_nobody_is_let_in_who_is_not_there_by_his_whole_name(
        self, accounts: EmulatedAccounts, cluster: str
    ) -> None:
        session, name = accounts.session("dev"), unique()
        let_in = partial(session.client("eks").create_access_entry, clusterName=cluster)
        account = accounts.account_ids["dev"]
        short = f"arn:aws:iam::{account}:role/{name}"
        assert refused(let_in, principalArn=short) == "InvalidParameterException"
        role = session.client("iam").create_role(
            RoleName=name,
            Path="/aws-reserved/sso.amazonaws.com/eu-central-1/",
            AssumeRolePolicyDocument=trust("ec2.amazonaws.com"),
        )["Role"]["Arn"]
        assert refused(let_in, principalArn=short) == "InvalidParameterException"
        let_in(principalArn=role)

    def test_versions_are_told_with_the_end_of_their_support(
        self, accounts: EmulatedAccounts
    ) -> None:
        eks = accounts.session("dev").client("eks")
        (one,) = eks.describe_cluster_versions(clusterVersions=["1.34"])["clusterVersions"]
        left = one["endOfStandardSupportDate"] - datetime.datetime.now(datetime.UTC)
        assert (one["versionStatus"], round(left / datetime.timedelta(days=1))) == (
            "STANDARD_SUPPORT",
            30,
        )
        assert len(eks.describe_cluster_versions()["clusterVersions"]) > 3

    def test_the_newest_image_of_a_node_is_published(self, accounts: EmulatedAccounts) -> None:
        name = (
            "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/standard/recommended"
            "/release_version"
        )
        told = accounts.session("dev").client("ssm").get_parameter(Name=name)
        assert told["Parameter"]["Value"].startswith("1.36.")

    def test_its_issuer_has_the_name_that_aws_gives(
        self, accounts: EmulatedAccounts, cluster: str
    ) -> None:
        found = accounts.session("dev").client("eks").describe_cluster(name=cluster)["cluster"]

        issuer = found["identity"]["oidc"]["issuer"]
        assert issuer.startswith("https://oidc.eks.eu-central-1.amazonaws.com/id/")

    def test_nodes_keep_their_template_and_how_they_are_replaced(
        self, accounts: EmulatedAccounts, cluster: str
    ) -> None:
        session = accounts.session("dev")
        template = session.client("ec2").create_launch_template(
            LaunchTemplateName=unique(), LaunchTemplateData={"InstanceType": "m7g.large"}
        )["LaunchTemplate"]
        eks = session.client("eks")
        eks.create_nodegroup(
            clusterName=cluster,
            nodegroupName="main",
            subnets=["subnet-1"],
            nodeRole="arn:aws:iam::111122223333:role/node",
            launchTemplate={"id": template["LaunchTemplateId"], "version": "1"},
            updateConfig={"maxUnavailablePercentage": 33},
            nodeRepairConfig={"enabled": True},
        )

        def now() -> Any:
            return eks.describe_nodegroup(clusterName=cluster, nodegroupName="main")["nodegroup"]

        assert now()["launchTemplate"] == {
            "id": template["LaunchTemplateId"],
            "name": template["LaunchTemplateName"],
            "version": "1",
        }
        assert now()["updateConfig"] == {"maxUnavailablePercentage": 33}
        assert now()["nodeRepairConfig"] == {"enabled": True}
        eks.update_nodegroup_config(
            clusterName=cluster,
            nodegroupName="main",
            labels={"addOrUpdateLabels": {"a": "b"}},
            scalingConfig={"minSize": 2, "maxSize": 3, "desiredSize": 2},
        )
        assert now()["labels"] == {"a": "b"}
        assert now()["scalingConfig"]["minSize"] == 2


class TestTable:
    def test_it_keeps_how_far_back_it_can_be_restored(self, accounts: EmulatedAccounts) -> None:
        dynamodb, name = accounts.session("dev").client("dynamodb"), unique()
        self.create(dynamodb, name)
        dynamodb.update_continuous_backups(
            TableName=name,
            PointInTimeRecoverySpecification={
                "PointInTimeRecoveryEnabled": True,
                "RecoveryPeriodInDays": 14,
            },
        )

        told = dynamodb.describe_continuous_backups(TableName=name)
        found = told["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
        assert found["RecoveryPeriodInDays"] == 14

    def test_a_replica_has_its_own_key(self, accounts: EmulatedAccounts) -> None:
        dynamodb, name = accounts.session("dev").client("dynamodb"), unique()
        there = accounts.session("dev", "eu-west-1")
        key = there.client("kms").create_key()["KeyMetadata"]["Arn"]
        self.create(dynamodb, name)
        dynamodb.update_table(
            TableName=name,
            ReplicaUpdates=[{"Create": {"RegionName": "eu-west-1", "KMSMasterKeyId": key}}],
        )

        replica = there.client("dynamodb").describe_table(TableName=name)["Table"]
        assert replica["SSEDescription"]["KMSMasterKeyArn"] == key

    def create(self, dynamodb: Any, name: str) -> None:
        dynamodb.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "PK", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "PK", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )


RULES = {
    "rules": [
        {
            "destinations": [{"region": "eu-west-1", "registryId": "333344445555"}],
            "repositoryFilters": [{"filter": "app", "filterType": "PREFIX_MATCH"}],
        }
    ]
}


class TestRegistry:
    def test_it_keeps_its_policy_and_replication(self, accounts: EmulatedAccounts) -> None:
        ecr = accounts.session("staging").client("ecr")
        absent = "RegistryPolicyNotFoundException"
        assert refused(ecr.get_registry_policy) == absent
        assert ecr.describe_registry()["replicationConfiguration"] == {"rules": []}

        ecr.put_registry_policy(policyText="{}")
        ecr.put_replication_configuration(replicationConfiguration=RULES)
        assert ecr.get_registry_policy()["policyText"] == "{}"
        assert ecr.describe_registry()["replicationConfiguration"] == RULES
        other = accounts.session("staging", "eu-west-1").client("ecr")
        assert refused(other.get_registry_policy) == absent

        ecr.delete_registry_policy()
        assert refused(ecr.get_registry_policy) == absent

    def test_they_survive_a_stop(self, tmp_path: Path) -> None:
        with EmulatedAccounts(tmp_path) as accounts:
            accounts.session("dev").client("ecr").put_registry_policy(policyText='{"a":1}')
        with EmulatedAccounts(tmp_path) as accounts:
            found = accounts.session("dev").client("ecr").get_registry_policy()

        assert found["policyText"] == '{"a":1}'


class TestBoundaries:
    def test_a_condition_on_the_boundary_holds(self, accounts: EmulatedAccounts) -> None:
        iam = accounts.session("dev").client("iam")
        anything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        boundary = iam.create_policy(
            PolicyName=unique(),
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [anything]}),
        )["Policy"]["Arn"]
        only_bounded = {
            "Effect": "Allow",
            "Action": ["iam:CreateRole", "iam:PutRolePolicy"],
            "Resource": "*",
            "Condition": {"StringEquals": {"iam:PermissionsBoundary": boundary}},
        }
        name = unique()
        iam.create_user(UserName=name)
        iam.put_user_policy(
            UserName=name,
            PolicyName="own",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [only_bounded]}),
        )
        key = iam.create_access_key(UserName=name)["AccessKey"]
        they = accounts.session_of(key["AccessKeyId"], key["SecretAccessKey"]).client("iam")
        asked = {"AssumeRolePolicyDocument": trust("ec2.amazonaws.com")}
        policy = {"PolicyName": "p", "PolicyDocument": json.dumps({"Statement": [anything]})}
        bounded, unbounded = unique(), unique()

        assert refused(they.create_role, RoleName=unbounded, **asked) == "AccessDenied"
        they.create_role(RoleName=bounded, PermissionsBoundary=boundary, **asked)
        they.put_role_policy(RoleName=bounded, **policy)
        iam.create_role(RoleName=unbounded, **asked)
        assert refused(they.put_role_policy, RoleName=unbounded, **policy) == "AccessDenied"
