"""CloudTrail: trails, their logging, selectors, tags, the keys that verify their digests, and channels."""

from opentrail.services.cloudtrail.channels import CHANNEL_OPERATIONS
from opentrail.services.cloudtrail.deps import CloudTrailDeps
from opentrail.services.cloudtrail.event_selectors import SELECTOR_OPERATIONS
from opentrail.services.cloudtrail.public_keys import PUBLIC_KEY_OPERATIONS
from opentrail.services.cloudtrail.reading import READING_OPERATIONS
from opentrail.services.cloudtrail.resource_policies import RESOURCE_POLICY_OPERATIONS
from opentrail.services.cloudtrail.settings import SETTINGS_OPERATIONS
from opentrail.services.cloudtrail.status import LOGGING_OPERATIONS
from opentrail.services.cloudtrail.tags import TAG_OPERATIONS

CLOUDTRAIL_OPERATIONS = {
    **SETTINGS_OPERATIONS,
    **READING_OPERATIONS,
    **LOGGING_OPERATIONS,
    **SELECTOR_OPERATIONS,
    **TAG_OPERATIONS,
    **PUBLIC_KEY_OPERATIONS,
    **CHANNEL_OPERATIONS,
    **RESOURCE_POLICY_OPERATIONS,
}

__all__ = ["CLOUDTRAIL_OPERATIONS", "CloudTrailDeps"]
