"""What an upstream might answer to planted calls, and which services and members the property is tried with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from opentrail.core.errors import ServiceFault
from opentrail.core.http import HttpResponse
from opentrail.core.wire.faults import format_fault
from opentrail.core.wire.protocols import format_response
from opentrail.testing.planted_calls import PlantedCall

#: botocore's names; among them the services with the most that is sensitive, and every protocol.
SERVICES: Final = (
    "apigateway",
    "apigatewayv2",
    "appflow",
    "appstream",
    "appsync",
    "backup",
    "bedrock",
    "bedrock-runtime",
    "chime-sdk-voice",
    "cloudformation",
    "codebuild",
    "cognito-idp",
    "connect",
    "customer-profiles",
    "datazone",
    "dms",
    "ds",
    "ec2",
    "ecs",
    "events",
    "firehose",
    "glue",
    "grafana",
    "iam",
    "iot",
    "iotsitewise",
    "kms",
    "lambda",
    "location",
    "neptune",
    "organizations",
    "payment-cryptography-data",
    "pipes",
    "quicksight",
    "rds",
    "redshift",
    "route53domains",
    "s3",
    "secretsmanager",
    "sesv2",
    "sns",
    "sqs",
    "ssm",
    "sso-oidc",
    "stepfunctions",
    "sts",
    "support",
    "transfer",
    "verifiedpermissions",
    "workspaces-web",
)
#: Members that CloudTrail hides although botocore's model does not call them sensitive.
ALSO_HIDDEN: Final = frozenset(
    {
        "cloudformation.CreateStack.Parameters.ParameterValue",
        "cloudformation.CreateStack.TemplateBody",
        "cloudformation.UpdateStack.Parameters.ParameterValue",
        "cloudformation.UpdateStack.TemplateBody",
        "cloudformation.ValidateTemplate.TemplateBody",
        "ec2.CreateKeyPair.response.KeyMaterial",
        "ec2.RunInstances.UserData",
        "iam.EnableMFADevice.AuthenticationCode1",
        "iam.EnableMFADevice.AuthenticationCode2",
        "sns.Publish.Message",
        "sqs.SendMessage.MessageBody",
        "ssm.CreateDocument.Content",
        "ssm.StartSession.response.TokenValue",
        "stepfunctions.CreateStateMachine.definition",
        "support.CreateCase.communicationBody",
        "support.CreateCase.subject",
    }
)
#: What S3's model calls sensitive and its records show all the same: which key encrypts is no secret.
SHOWN: Final = ("SSEKMSKeyId", "KMSMasterKeyID", "KMSKeyArn", "KeyId", "SSEKMSEncryptionContext")
#: Requests in a form that S3 gave up: its operation of today refuses the body.
REFUSED: Final = frozenset({"s3.PutBucketNotification"})


def make_answers(call: PlantedCall, models: Any) -> Iterator[tuple[str, HttpResponse]]:
    """What an upstream might answer, each with what it is: a result full of secrets, errors that repeat the request's.

    ``models`` is a botocore session, which knows the shapes of results.
    """
    route, operation = call.route, call.route.operation
    assert operation is not None
    shape = models.get_service_model(route.service.name).operation_model(operation.name).output_shape
    result = call.planter.fill(shape, f"{call.name}.response", ALSO_HIDDEN)
    streaming = operation.streaming_output
    if streaming is not None:
        result = {name: value for name, value in result.items() if name != streaming}
    yield "a result", format_response(route, result, "id")
    secrets = [text for text in call.secrets if not all(map(is_shown, call.planter.found_in(text)))]
    echo = f"Invalid: {', '.join(secrets)}"
    for code in ("ValidationException", "AccessDenied", "InternalFailure"):
        yield code, format_fault(route, ServiceFault(code, echo), "id", method=call.request.method)
    # Where the message is cut, a secret must not be left in half.
    cut = "".join(f"{secret:.>1028}" for secret in secrets[:1])
    yield "a long message", format_fault(route, ServiceFault("ValidationException", cut), "id")


def is_shown(place: str) -> bool:
    """Whether a record may show what stands in ``place``, although its model calls it sensitive."""
    return place.startswith("s3.") and place.endswith(SHOWN)
