"""Why a difference between a real record and ours remains: what is on no wire, or in no SDK's model."""

from __future__ import annotations

import re
from dataclasses import dataclass

from opentrail.testing.fidelity.compare import Difference

UNSENDABLE = "not sendable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why; ``event`` (``service Event``) and ``path`` are patterns of the differences that it explains."""

    event: str
    path: str
    text: str

    def explains(self, event: str, path: str) -> bool:
        """Whether the difference is one of those."""
        return re.fullmatch(self.event, event) is not None and re.fullmatch(self.path, path) is not None


def reason_of(service: str, event: str, difference: Difference) -> str:
    """Why ``difference`` remains; empty where nobody has found out."""
    if difference.how == UNSENDABLE:
        return "AWS's own console or service calls it; no SDK's model has the operation, and REST paths tell no name"
    name = f"{service} {event}"
    return next((each.text for each in _REASONS if each.explains(name, difference.path)), "")


_REASONS = (
    Reason(
        event="apigateway CreateStage",
        path=r"responseElements\.(stage\w+|self)",
        text="links to further calls, which the service keeps from its answers to SDKs",
    ),
    Reason(
        event="cloudfront (Create|Update)Distribution",
        path=r".*\.oacSigningBehavior",
        text="in the service's own model alone: it is in no answer",
    ),
    Reason(
        event="cloudfront UpdateDistribution",
        path=r"responseElements\.location",
        text="the header of another operation (CreateDistribution): an update's answer has none",
    ),
    Reason(
        event="lambda UpdateFunctionConfiguration.*",
        path=r".*\.uncompressedCodeSize",
        text="in the service's own model alone: it is in no answer",
    ),
    Reason(
        event="rds CreateDBInstance",
        path=r"responseElements\.httpEndpointEnabled",
        text="records of 2023 have it, this one of 2016 does not yet",
    ),
    Reason(
        event="s3 CreateBucket",
        path=r"requestParameters\.Host",
        text="records of 2015 do not have the host yet",
    ),
    Reason(
        event="dynamodb PutItem",
        path=r"requestParameters\.key",
        text="which attributes of an item are its key, only the table knows",
    ),
    Reason(
        event="dynamodb (Batch)?Execute.*",
        path=r"requestParameters\..*[sS]tatement",
        text="which of a statement's literals are a key's, only the table knows: all are hidden",
    ),
    Reason(
        event="dynamodb TransactWriteItems",
        path=r"requestParameters\.requestItems\[\]\.key",
        text="which attributes of an item are its key, only the table knows",
    ),
    Reason(
        event="sts AssumeRoleWithSAML",
        path=r"requestParameters\.(sAMLAssertionID|roleSessionName|sourceIdentity|principalTags|transitiveTagKeys)",
        text="the service reads it in the assertion",
    ),
    Reason(
        event="sts AssumeRole(WithWebIdentity)?",
        path=r"requestParameters\.(incomingTransitiveTags|sourceIdentity|principalTags|transitiveTagKeys)",
        text="the service reads it in the caller's session or token",
    ),
    Reason(
        event="ssm CreateDocument",
        path=r"responseElements\.documentDescription\.documentId",
        text="in the service's own model alone: it is in no answer",
    ),
    Reason(
        event="sqs AddPermission",
        path=r"requestParameters\.AWSAccountIds",
        text="SQS's guide of 2018 has no member in small letters that begins so; its later records have",
    ),
    Reason(
        event="cognito-idp .*",
        path=r".*\.clientId",
        text="the model calls it sensitive, so it is hidden; AWS shows it",
    ),
    Reason(
        event="greengrass AssociateServiceRoleToAccount",
        path=r"responseElements|error\w+",
        text="both versions of the service have the operation: sent to the second, which tells errors otherwise",
    ),
    Reason(
        event="iot CreateOTAUpdate",
        path=r"requestParameters\.files\[\]\.fileSource",
        text="the member's name of 2018; no model has it any more",
    ),
    Reason(
        event="ec2 CreateTrafficMirrorSession",
        path=r"responseElements\..*\.virtualNetworkId",
        text="AWS's guide has digits in quotes, as one record tells it; the WSDL's type is a number",
    ),
    Reason(
        event="s3 .*",
        path=r"requestParameters(\.(host|Host|acl|policy|versioning|x-amz-acl|VersioningConfiguration))?",
        text="records of 2018 and 2019 have a list of texts for each parameter, and host with a small letter",
    ),
    Reason(
        event="s3express .*",
        path=r"requestParameters\.(session|x-amz-checksum-mode|x-amz-sdk-checksum-algorithm)",
        text="told of directory buckets other than of all others; AWS's guide alone shows it",
    ),
    Reason(
        event="s3express CreateSession",
        path=r"requestParameters\.[hH]ost|responseElements",
        text="AWS's guide writes the host both ways; a session's credentials are rebuilt from no record",
    ),
    Reason(
        event="kms Decrypt",
        path=r"requestParameters\.encryptionAlgorithm",
        text="records have it since the end of 2019",
    ),
    Reason(
        event="(rds|neptune) .*",
        path=r"responseElements\.httpEndpointEnabled",
        text="records of 2023 have it, older ones do not yet",
    ),
    Reason(
        event="athena StartQueryExecution",
        path=r"requestParameters\.queryString",
        text="a query may hold anything: AWS's guide hides it, a record of 2022 shows it",
    ),
    Reason(
        event="bedrock UpdateGuardrail",
        path=r"requestParameters\.blocked\w+Messaging",
        text="the model calls it sensitive, so it is hidden; one record leaves it out where the name is hidden",
    ),
    Reason(
        event="gamelift CreateFleet",
        path=r"requestParameters\.eC2InboundPermissions.*",
        text="the model calls it sensitive by now; the record is of 2015",
    ),
    Reason(
        event="workmail CreateUser",
        path=r"requestParameters\.displayName",
        text="the model calls it sensitive by now; the record is of 2017",
    ),
    Reason(
        event="lex CreateBotAlias",
        path=r".*\.botAliasLocaleSettingsMap",
        text="the name in AWS's guide; no model has it",
    ),
    Reason(
        event="eks CreateCluster",
        path=r".*\.clusterName",
        text="the preview's name of 2018; no model has it any more",
    ),
    Reason(
        event="rekognition CreateStreamProcessor",
        path=r"responseElements",
        text="AWS's guide of 2018 begins the name with a capital, in a service that writes none",
    ),
    Reason(
        event="servicequotas .*",
        path=r".*\.desiredValue",
        text="AWS's guide writes 10 for a number that other services' records have as 10.0",
    ),
    Reason(
        event="cloud9 CreateEnvironmentSSH",
        path=r"requestParameters|responseElements",
        text="AWS's own console calls it; no SDK's model has the operation: nothing but its name is recorded",
    ),
    Reason(
        event="ssm SendCommand",
        path=r"responseElements\.command\.has\w+CommandSignature",
        text="records of 2024 have it, those of 2023 do not; it is in no answer",
    ),
)
