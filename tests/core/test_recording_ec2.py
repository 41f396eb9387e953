"""Calls of EC2 become records as its WSDL names them, or, the newer ones, as they were sent."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from opentrail.core.errors import FormatError, ServiceFault
from opentrail.core.http import Headers, HttpRequest
from opentrail.core.identity import root_identity
from opentrail.core.recording import Recipient, build_event
from opentrail.core.recording.ec2_targets import Target, parse_target
from opentrail.core.wire.calls import ApiCall, Outcome, WireAnswer
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.recording_rules import load_rules
from opentrail.testing.recorded_calls import ACCOUNT, CallRecorder

XMLNS = "http://ec2.amazonaws.com/doc/2016-11-15/"
HIDDEN = "<sensitiveDataRemoved>"


@pytest.fixture(scope="module")
def recorder() -> CallRecorder:
    return CallRecorder(catalog=BotocoreCatalog(), rules=load_rules())


@pytest.mark.parametrize(
    ("operation", "form", "recorded"),
    [
        pytest.param("AttachInternetGateway", {"VpcId": "vpc-1"}, {"vpcId": "vpc-1"}, id="plain names"),
        pytest.param(
            "DescribeVpcs",
            {"VpcId.2": "vpc-2", "VpcId.1": "vpc-1"},
            {"vpcSet": {"items": [{"vpcId": "vpc-1"}, {"vpcId": "vpc-2"}]}, "filterSet": {}},
            id="sets in the order of their indices, and what is empty beside them",
        ),
        pytest.param("DescribeRegions", {}, {"regionSet": {}}, id="no filter set where EC2 tells none"),
        pytest.param(
            "DescribeVpcClassicLink",
            {"VpcId.1": "vpc-1"},
            {"vpcSet": {"item": [{"vpcId": "vpc-1"}]}, "filterSet": {}},
            id="a set whose items have another key",
        ),
        pytest.param(
            "DescribeTags",
            {"Filter.1.Name": "key", "Filter.1.Value.1": "7", "Filter.1.Value.2": "true", "MaxResults": "5"},
            {
                "filterSet": {"items": [{"name": "key", "valueSet": {"items": [{"value": "7"}, {"value": "true"}]}}]},
                "maxResults": 5,
            },
            id="values of filters stay text, numbers are numbers",
        ),
        pytest.param(
            "CreateVolume",
            {"AvailabilityZone": "us-east-1a", "Size": "8", "Encrypted": "true", "KmsKeyId": "k"},
            {"zone": "us-east-1a", "size": "8", "encrypted": True, "masterEncryptionKeyId": "k"},
            id="members with other names",
        ),
        pytest.param("DeleteSnapshot", {"SnapshotId": "s"}, {"snapshotId": "s", "force": False}, id="a default"),
        pytest.param("DescribeVpcAttribute", {"VpcId": "v", "Attribute": "x"}, {"vpcId": "v"}, id="never recorded"),
        pytest.param(
            "CreateTags",
            {"ResourceId.1": "i-1", "Tag.1.Key": "a", "Tag.1.Value": "1", "Tag.2.Key": "b", "Tag.2.Value": ""},
            {
                "resourcesSet": {"items": [{"resourceId": "i-1"}]},
                "tagSet": {"items": [{"key": "a", "value": "1"}, {"key": "b"}]},
            },
            id="tags",
        ),
        pytest.param(
            "AuthorizeSecurityGroupIngress",
            {"GroupId": "sg-1", "IpPermissions.1.IpProtocol": "tcp", "IpPermissions.1.IpRanges.1.CidrIp": "0.0.0.0/0"},
            {
                "groupId": "sg-1",
                "ipPermissions": {
                    "items": [
                        {
                            "ipProtocol": "tcp",
                            "groups": {},
                            "ipRanges": {"items": [{"cidrIp": "0.0.0.0/0"}]},
                            "ipv6Ranges": {},
                            "prefixListIds": {},
                        }
                    ]
                },
            },
            id="permissions with their empty sets",
        ),
        pytest.param(
            "CreateNetworkAclEntry",
            {"Protocol": "-1", "RuleNumber": "9", "PortRange.From": "1", "PortRange.To": "2"},
            {"aclProtocol": "-1", "ruleNumber": 9, "icmpTypeCode": {}, "portRange": {"from": 1, "to": 2}},
            id="structures that are told empty",
        ),
        pytest.param(
            "ModifySnapshotAttribute",
            {"SnapshotId": "s", "Attribute": "createVolumePermission", "OperationType": "add", "UserId.1": "1" * 12},
            {
                "snapshotId": "s",
                "attributeType": "CREATE_VOLUME_PERMISSION",
                "createVolumePermission": {"add": {"items": [{"userId": "1" * 12}]}},
            },
            id="the older way to share is told as the newer",
        ),
        pytest.param(
            "ModifyImageAttribute",
            {"ImageId": "ami-1", "LaunchPermission.Remove.1.Group": "all"},
            {
                "imageId": "ami-1",
                "attributeType": "launchPermission",
                "launchPermission": {"remove": {"items": [{"group": "all"}]}},
            },
            id="the attribute is told though it was not sent",
        ),
        pytest.param(
            "CreateNetworkInterface",
            {"SubnetId": "subnet-1", "DenyAllIgwTraffic": "true", "PeerOwnerId": "0" + "1" * 11},
            {
                "subnetId": "subnet-1",
                "groupSet": {},
                "privateIpAddressesSet": {},
                "denyAllIgwTraffic": True,
                "peerOwnerId": "0" + "1" * 11,
            },
            id="names that no model knows",
        ),
    ],
)
def test_an_older_operation_has_the_names_of_the_wsdl(
    recorder: CallRecorder, operation: str, form: dict[str, str], recorded: dict[str, Any]
) -> None:
    assert recorder.ec2(operation, form)["requestParameters"] == recorded


def test_run_instances_tells_its_instances_as_a_set(recorder: CallRecorder) -> None:
    form = {
        "ImageId": "ami-1",
        "MinCount": "1",
        "MaxCount": "2",
        "KeyName": "key",
        "SecurityGroup.1": "web",
        "SecurityGroupId.1": "sg-1",
        "Placement.AvailabilityZone": "us-east-1a",
        "Placement.GroupName": "near",
        "UserData": "dG9wIHNlY3JldA==",
        "Monitoring.Enabled": "true",
        "BlockDeviceMapping.1.DeviceName": "/dev/sdb",
        "BlockDeviceMapping.1.NoDevice": "",
        "TagSpecification.1.ResourceType": "instance",
        "TagSpecification.1.Tag.1.Key": "a",
        "TagSpecification.1.Tag.1.Value": "true",
    }
    record = recorder.ec2("RunInstances", form)
    assert record["requestParameters"] == {
        "instancesSet": {"items": [{"imageId": "ami-1", "minCount": 1, "maxCount": 2, "keyName": "key"}]},
        "groupSet": {"items": [{"groupName": "web"}, {"groupId": "sg-1"}]},
        "availabilityZone": "us-east-1a",
        "placement": {"groupName": "near"},
        "userData": HIDDEN,
        "monitoring": {"enabled": True},
        "disableApiTermination": False,
        "blockDeviceMapping": {"items": [{"deviceName": "/dev/sdb", "noDevice": {}}]},
        "tagSpecificationSet": {"items": [{"resourceType": "instance", "tags": [{"key": "a", "value": "true"}]}]},
    }
    assert "dG9wIHNlY3JldA" not in json.dumps(record)


@pytest.mark.parametrize(
    ("operation", "form", "recorded"),
    [
        ("EnableSerialConsoleAccess", {}, {"EnableSerialConsoleAccessRequest": ""}),
        ("DescribeHosts", {"MaxResults": "7"}, {"DescribeHostsRequest": {"MaxResults": 7}}),
        (
            "DeleteFlowLogs",
            {"FlowLogId.1": "fl-1"},
            {"DeleteFlowLogsRequest": {"FlowLogId": {"tag": 1, "content": "fl-1"}}},
        ),
        (
            "DescribeVpcEndpoints",
            {"Filter.1.Name": "vpc-id", "Filter.1.Value.1": "vpc-1", "Filter.1.Value.2": "vpc-2"},
            {
                "DescribeVpcEndpointsRequest": {
                    "Filter": {
                        "Name": "vpc-id",
                        "Value": [{"tag": 1, "content": "vpc-1"}, {"tag": 2, "content": "vpc-2"}],
                        "tag": 1,
                    }
                }
            },
        ),
        (
            "DeleteTransitGatewayVpcAttachment",
            {"TransitGatewayAttachmentId": "t"},
            {"DelTGwVpcAttachReq": {"TransitGatewayAttachmentId": "t"}},
        ),
        (
            "CreateLaunchTemplate",
            {"LaunchTemplateName": "x", "LaunchTemplateData.UserData": "dG9wIHNlY3JldA=="},
            {"CreateLaunchTemplateRequest": {"LaunchTemplateName": "x", "LaunchTemplateData": {"UserData": HIDDEN}}},
        ),
    ],
)
def test_a_newer_operation_is_recorded_as_it_was_sent(
    recorder: CallRecorder, operation: str, form: dict[str, str], recorded: dict[str, Any]
) -> None:
    assert recorder.ec2(operation, form)["requestParameters"] == recorded


def test_an_answer_has_the_names_of_the_wsdl(recorder: CallRecorder) -> None:
    answer = f"""<CreateVolumeResponse xmlns="{XMLNS}">
        <requestId>r-1</requestId><volumeId>vol-1</volumeId><size>8</size><snapshotId/>
        <availabilityZone>us-east-1a</availabilityZone><createTime>2023-07-10T12:10:36.782Z</createTime><iops>100</iops>
        <tagSet><item><key>a</key><value>1</value></item></tagSet><attachmentSet/></CreateVolumeResponse>"""
    assert recorder.ec2("CreateVolume", {}, answer)["responseElements"] == {
        "requestId": "r-1",
        "volumeId": "vol-1",
        "size": "8",
        "zone": "us-east-1a",
        "createTime": 1688991036782,
        "iops": 100,
        "tagSet": {"items": [{"key": "a", "value": "1"}]},
        "attachmentSet": {},
    }


def test_a_write_without_an_answer_says_that_it_was_done(recorder: CallRecorder) -> None:
    answer = f'<DeleteVpcResponse xmlns="{XMLNS}"><requestId>r</requestId><return>true</return></DeleteVpcResponse>'
    done = {"requestId": "r", "_return": True}
    assert recorder.ec2("DeleteVpc", {"VpcId": "v"}, answer)["responseElements"] == done
    assert (
        recorder.ec2("DeleteVpc", {"VpcId": "v"}, answer.replace("<return>true</return>", ""))["responseElements"]
        == done
    )


def test_an_answer_of_ours_or_one_that_is_no_xml_is_told_by_its_result(recorder: CallRecorder) -> None:
    expected = {"requestId": "00000000-0000-4000-8000-000000000002", "imageId": "ami-1"}
    garbage = WireAnswer(status=200, headers=Headers(), body=b"\x1f\x8b not XML")
    for outcome in (Outcome(result={"ImageId": "ami-1"}), Outcome(result={"ImageId": "ami-1"}, answer=garbage)):
        request = HttpRequest(method="POST", path="/")
        record = recorder.record("ec2", "RegisterImage", request=request, body=b"Name=x", outcome=outcome)
        assert record["responseElements"] == expected


def test_a_newer_operations_answer_is_recorded_as_it_came(recorder: CallRecorder) -> None:
    answer = f"""<?xml version="1.0" encoding="UTF-8"?><CreateFlowLogsResponse xmlns="{XMLNS}"><requestId>r</requestId>
        <unsuccessful/><flowLogIdSet><item>fl-1</item></flowLogIdSet></CreateFlowLogsResponse>"""
    assert recorder.ec2("CreateFlowLogs", {}, answer)["responseElements"] == {
        "CreateFlowLogsResponse": {
            "xmlns": XMLNS,
            "requestId": "r",
            "unsuccessful": "",
            "flowLogIdSet": {"item": "fl-1"},
        }
    }


def test_a_read_has_no_response_elements(recorder: CallRecorder) -> None:
    answer = f'<DescribeVpcsResponse xmlns="{XMLNS}"><requestId>r</requestId></DescribeVpcsResponse>'
    assert recorder.ec2("DescribeVpcs", {}, answer)["responseElements"] is None


@pytest.mark.parametrize(
    ("operation", "element"),
    [("CreateKeyPair", "keyMaterial"), ("CreateVpnConnection", "customerGatewayConfiguration")],
)
def test_a_secret_in_an_answer_is_hidden_wherever_it_stands(
    recorder: CallRecorder, operation: str, element: str
) -> None:
    name = f"{operation}Response"
    answer = f'<{name} xmlns="{XMLNS}"><x><{element}>very-secret</{element}></x><y>a very-secret</y></{name}>'
    record = recorder.ec2(operation, {}, answer)
    assert "very-secret" not in json.dumps(record)
    assert record["responseElements"]["x"] == {element: HIDDEN}


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (ServiceFault("UnauthorizedOperation", "no", status=403), "Client.UnauthorizedOperation"),
        (ServiceFault("InternalError", "no", status=500), "Server.InternalError"),
    ],
)
def test_an_error_tells_whose_fault_it_is_and_keeps_the_parameters(
    recorder: CallRecorder, fault: ServiceFault, code: str
) -> None:
    request = HttpRequest(method="GET", path="/", query="Action=GetPasswordData&InstanceId=i-1&X-Amz-Signature=s3cr3t")
    record = recorder.record("ec2", "GetPasswordData", request=request, outcome=Outcome(fault=fault))
    assert record["errorCode"] == code
    assert record["requestParameters"] == {"instanceId": "i-1"}
    assert record["responseElements"] is None


@pytest.mark.parametrize(
    "form",
    ["InstancesSet=x&ImageId=ami-1", "ImageId.x.y=1&ImageId=2", "=1&..=2&.=3", "Monitoring=1&Monitoring.Enabled.x=2"],
)
def test_names_in_each_others_way_cost_nothing_else(recorder: CallRecorder, form: str) -> None:
    named = recorder.ec2("RunInstances", f"{form}&SubnetId=subnet-1")["requestParameters"]
    assert named["subnetId"] == "subnet-1"


def test_a_form_that_cannot_be_read_has_no_parameters(recorder: CallRecorder) -> None:
    named = recorder.ec2("DeleteVpc", "VpcId=%ff")["requestParameters"]
    assert named is None


def test_of_an_operation_without_a_model_nothing_is_told(recorder: CallRecorder) -> None:
    known = recorder.catalog.service("ec2").operations["CreateVolume"]
    call = ApiCall(
        operation=replace(known, name="Dance"),
        parameters={},
        identity=root_identity(ACCOUNT),
        region="us-east-1",
        now=datetime(2026, 3, 4, tzinfo=UTC),
        event_id="00000000-0000-4000-8000-000000000001",
        request_id="00000000-0000-4000-8000-000000000002",
        request=HttpRequest(method="POST", path="/"),
        raw_body=b"Action=Dance&Password=very-secret",
    )
    answer = WireAnswer(status=200, headers=Headers(), body=b"<DanceResponse><x>very-secret</x></DanceResponse>")
    outcome = Outcome(result={}, answer=answer)
    record = build_event(call, outcome, recorder.rules, Recipient(account_id=ACCOUNT)).record
    assert (record["eventName"], record["requestParameters"], record["responseElements"]) == ("Dance", None, None)


def test_the_notation_of_targets() -> None:
    assert parse_target("instancesSet.0.imageId") == Target(path=("instancesSet", "0", "imageId"))
    assert parse_target("vpcSet[vpcId]@item!") == Target(path=("vpcSet",), item="vpcId", key="item", always=True)
    assert parse_target('x={"a": 1}') == Target(path=("x",), default={"a": 1})
    assert parse_target("size:text").as_text
    assert parse_target("noDevice{}").emptied
    assert parse_target("value?").unless_empty
    for text in ("", "a b", "x[", "x]!", "x=", "x!!"):
        with pytest.raises(FormatError):
            parse_target(text)


def test_every_rule_of_the_table_can_be_read() -> None:
    tables = load_rules().of("ec2").tables
    rows = [tables["everywhere"], *tables["wsdlOperations"].values(), *tables["answerNames"].values()]
    texts = [text for row in rows for text in row.values() if text]
    assert len([parse_target(text) for text in texts]) > 100
    assert len(tables["wsdlOperations"]) == 160
