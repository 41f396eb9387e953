#!/usr/bin/env bash
# Many accounts, one bucket, each reads only its own folder: with the AWS CLI and nothing else.
#
#     examples/cross_account.sh            starts an endpoint of its own and removes it at the end
#
# Three accounts deliver their trails to one bucket of the first.  A role there, trusted by the second account, may read
# the second account's folder and nothing else; a user of the second account may assume it.  Every step is printed, every
# refusal is asked for, and at the end the trails say who did what.  The exit code is 0 when each step ended as it should.
#
# OPENTRAIL and AWS name the two commands where they are neither on the PATH nor in .venv (`make demo` puts both there).
set -euo pipefail

PATH=$PATH:$(cd "$(dirname "$0")/.." && pwd)/.venv/bin
OPENTRAIL=${OPENTRAIL:-opentrail}
AWS=${AWS:-aws}
for command in "$OPENTRAIL" "$AWS"; do
    command -v "$command" > /dev/null || { echo "$command is not here: \`make demo\` installs what this needs" >&2; exit 2; }
done
BUCKET=company-trails
PREFIX=audit
REGION=eu-central-1

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    BOLD=$'\033[1;36m' GOOD=$'\033[32m' BAD=$'\033[31m' PLAIN=$'\033[0m'
else
    BOLD='' GOOD='' BAD='' PLAIN=''
fi

FOLDER=$(mktemp -d "${TMPDIR:-/tmp}/opentrail-accounts-XXXXXX")
SERVER=
finish() {
    if [ -n "$SERVER" ]; then
        kill "$SERVER" 2> /dev/null || true
        wait "$SERVER" 2> /dev/null || true
    fi
    if [ -n "${KEEP:-}" ]; then echo "kept: $FOLDER"; else rm -rf "$FOLDER"; fi
}
trap finish EXIT

step() { printf '\n%s%s%s\n' "$BOLD" "$1" "$PLAIN"; }
show() { printf '   %s$ %s\n' "$1" "$2"; }

# as PROFILE WORDS...: a step that must succeed; what the CLI prints is shown and kept in $OUTPUT.
as() {
    local profile=$1
    shift
    show "$profile" "aws $*"
    if ! OUTPUT=$("$AWS" --profile "$profile" "$@" 2>&1); then
        printf '%s   %s%s\nThis step should have been allowed.\n' "$BAD" "$OUTPUT" "$PLAIN"
        exit 1
    fi
    [ -z "$OUTPUT" ] || printf '%s\n' "$OUTPUT" | sed -n "1,${LINES_SHOWN:-12}s/^/     /p"
}

# quietly PROFILE WORDS...: the same without a word.
quietly() {
    local profile=$1
    shift
    OUTPUT=$("$AWS" --profile "$profile" "$@")
}

# refused CODE PROFILE WORDS...: a step that must be refused with this error code.
refused() {
    local code=$1 profile=$2
    shift 2
    show "$profile" "aws $*"
    if OUTPUT=$("$AWS" --profile "$profile" "$@" 2>&1); then
        printf '%s     %s%s\nThis step should have been refused.\n' "$BAD" "$OUTPUT" "$PLAIN"
        exit 1
    fi
    if [[ $OUTPUT != *"$code"* ]]; then
        printf '%s     %s%s\nThis step should have been refused with %s.\n' "$BAD" "$OUTPUT" "$PLAIN" "$code"
        exit 1
    fi
    printf '     %srefused:%s %s\n' "$GOOD" "$PLAIN" "$(printf '%s' "$OUTPUT" | tr -d '\n' | fold -s -w 108 | sed '2,$s/^/              /')"
}

# profile NAME LINES...: a profile of the AWS CLI, in the configuration of this demonstration alone.
profile() {
    local name=$1
    shift
    { printf '[profile %s]\nregion = %s\n' "$name" "$REGION"; printf '%s\n' "$@"; } >> "$AWS_CONFIG_FILE"
}

# user_profile NAME CREATOR USER: a new access key of USER, as a profile.
user_profile() {
    quietly "$2" iam create-access-key --user-name "$3" --query 'AccessKey.[AccessKeyId,SecretAccessKey]' --output text
    profile "$1" "aws_access_key_id = ${OUTPUT%%$'\t'*}" "aws_secret_access_key = ${OUTPUT##*$'\t'}"
}

# delivered PREFIX: wait until the bucket has an object below PREFIX; its key is then in $KEY.
delivered() {
    for _ in $(seq 150); do
        KEY=$("$AWS" --profile primary s3api list-objects-v2 --bucket "$BUCKET" --prefix "$1" --no-paginate \
            --max-keys 1 --query 'Contents[0].Key' --output text)
        if [ "$KEY" != None ] && [ -n "$KEY" ]; then return; fi
        sleep 0.2
    done
    echo "Nothing was delivered below $1."
    exit 1
}

# bucket_policy ACCOUNT...: the policy that lets CloudTrail write for these accounts: a line for each.
bucket_policy() {
    local lines='' account
    for account; do
        lines="$lines${lines:+, }\"arn:aws:s3:::$BUCKET/$PREFIX/AWSLogs/$account/*\""
    done
    cat <<END
{"Version": "2012-10-17", "Statement": [
  {"Sid": "TheBucketsAcl", "Effect": "Allow", "Principal": {"Service": "cloudtrail.amazonaws.com"},
   "Action": "s3:GetBucketAcl", "Resource": "arn:aws:s3:::$BUCKET"},
  {"Sid": "AFolderForEachAccount", "Effect": "Allow", "Principal": {"Service": "cloudtrail.amazonaws.com"},
   "Action": "s3:PutObject", "Resource": [$lines],
   "Condition": {"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}}}]}
END
}

step 'An endpoint, and the accounts of a company'
BEGAN=$(date -u +%Y-%m-%dT%H:%M:%SZ)
: > "$FOLDER/log"
"$OPENTRAIL" serve --port 0 --data-dir "$FOLDER/data" --delivery-interval 1s --digest-interval 5s > "$FOLDER/log" 2>&1 &
SERVER=$!
for _ in $(seq 300); do
    URL=$(sed -n 's/.*listens on \(http[^ ]*\).*/\1/p; /listens on/q' "$FOLDER/log")
    [ -n "$URL" ] && break
    kill -0 "$SERVER" 2> /dev/null || { cat "$FOLDER/log"; exit 1; }
    sleep 0.1
done
export AWS_ENDPOINT_URL=$URL AWS_PAGER='' AWS_EC2_METADATA_DISABLED=true
export AWS_CONFIG_FILE=$FOLDER/config AWS_SHARED_CREDENTIALS_FILE=$FOLDER/data/credentials
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE
printf '[default]\nregion = %s\n' "$REGION" > "$AWS_CONFIG_FILE"

quietly default sts get-caller-identity --query Account --output text
PRIMARY=$OUTPUT
as default iam create-user --user-name admin --query User.Arn --output text
as default iam attach-user-policy --user-name admin --policy-arn arn:aws:iam::aws:policy/AdministratorAccess
user_profile primary default admin
as primary organizations create-organization --query Organization.Id --output text
for name in secondary third; do
    as primary organizations create-account --account-name "$name" --email "$name@example.com" \
        --query CreateAccountStatus.Id --output text
    request=$OUTPUT
    for _ in $(seq 100); do
        quietly primary organizations describe-create-account-status --create-account-request-id "$request" \
            --query 'CreateAccountStatus.[State,AccountId]' --output text
        [ "${OUTPUT%%$'\t'*}" = SUCCEEDED ] && break
        sleep 0.1
    done
    printf '     %s\n' "$OUTPUT"
    declare "${name^^}=${OUTPUT##*$'\t'}"
    profile "$name" "role_arn = arn:aws:iam::${OUTPUT##*$'\t'}:role/OrganizationAccountAccessRole" 'source_profile = primary'
done

step 'One bucket, in the primary account, whose policy has a line for that account alone'
as primary s3 mb "s3://$BUCKET"
bucket_policy "$PRIMARY" > "$FOLDER/policy.json"
as primary s3api put-bucket-policy --bucket "$BUCKET" --policy "file://$FOLDER/policy.json"
as primary cloudtrail create-trail --name primary-trail --s3-bucket-name "$BUCKET" --s3-key-prefix "$PREFIX" \
    --is-multi-region-trail --enable-log-file-validation --query TrailARN --output text
as primary cloudtrail put-event-selectors --trail-name primary-trail --query TrailARN --output text --event-selectors \
    "[{\"ReadWriteType\": \"All\", \"IncludeManagementEvents\": true, \"DataResources\": [{\"Type\": \"AWS::S3::Object\", \"Values\": [\"arn:aws:s3:::$BUCKET/\"]}]}]"
as primary cloudtrail start-logging --name primary-trail

step 'The other accounts may deliver there once the policy has a line for each, and under that prefix alone'
refused InsufficientS3BucketPolicyException secondary cloudtrail create-trail --name secondary-trail \
    --s3-bucket-name "$BUCKET" --s3-key-prefix "$PREFIX"
bucket_policy "$PRIMARY" "$SECONDARY" "$THIRD" > "$FOLDER/policy.json"
as primary s3api put-bucket-policy --bucket "$BUCKET" --policy "file://$FOLDER/policy.json"
refused InsufficientS3BucketPolicyException secondary cloudtrail create-trail --name secondary-trail \
    --s3-bucket-name "$BUCKET" --s3-key-prefix elsewhere
for name in secondary third; do
    as "$name" cloudtrail create-trail --name "$name-trail" --s3-bucket-name "$BUCKET" --s3-key-prefix "$PREFIX" \
        --is-multi-region-trail --enable-log-file-validation --query TrailARN --output text
    as "$name" cloudtrail start-logging --name "$name-trail"
done
refused InsufficientS3BucketPolicyException secondary cloudtrail update-trail --name secondary-trail \
    --s3-key-prefix elsewhere

step 'Primary account: a role that the secondary account may assume, and that reads its folder alone'
cat > "$FOLDER/trust.json" <<END
{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::$SECONDARY:root"}, "Action": "sts:AssumeRole"}]}
END
cat > "$FOLDER/reading.json" <<END
{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Action": ["s3:Get*", "s3:List*"],
   "Resource": "arn:aws:s3:::$BUCKET/$PREFIX/AWSLogs/$SECONDARY/*"},
  {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::$BUCKET",
   "Condition": {"StringLike": {"s3:prefix": "$PREFIX/AWSLogs/$SECONDARY/*"}}}]}
END
as primary iam create-role --role-name CrossAccountCloudTrail --assume-role-policy-document "file://$FOLDER/trust.json" \
    --query Role.Arn --output text
ROLE=$OUTPUT
as primary iam create-policy --policy-name CrossAccountReadOnlyForCloudTrail \
    --policy-document "file://$FOLDER/reading.json" --query Policy.Arn --output text
as primary iam attach-role-policy --role-name CrossAccountCloudTrail --policy-arn "$OUTPUT"
as primary iam get-role --role-name CrossAccountCloudTrail --query Role.AssumeRolePolicyDocument.Statement

step 'Secondary account: a user who may assume that role'
cat > "$FOLDER/assuming.json" <<END
{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "$ROLE"}]}
END
as secondary iam create-policy --policy-name AssumeRoleForCloudTrail \
    --policy-document "file://$FOLDER/assuming.json" --query Policy.Arn --output text
POLICY=$OUTPUT
as secondary iam create-user --user-name CloudTrailUser1 --query User.Arn --output text
as secondary iam attach-user-policy --user-name CloudTrailUser1 --policy-arn "$POLICY"
user_profile user1 secondary CloudTrailUser1
profile reader "role_arn = $ROLE" 'source_profile = user1' 'role_session_name = CloudTrailUser1'

step 'Third account: a user with the same permission, whom the role does not trust'
quietly third iam create-user --user-name Outsider
quietly third iam put-user-policy --user-name Outsider --policy-name AssumeRoleForCloudTrail \
    --policy-document "file://$FOLDER/assuming.json"
user_profile outsider third Outsider
refused AccessDenied outsider sts assume-role --role-arn "$ROLE" --role-session-name Outsider

step 'Until it assumes the role, the user of the secondary account reads nothing'
delivered "$PREFIX/AWSLogs/$SECONDARY/CloudTrail/"
OWN=$KEY
delivered "$PREFIX/AWSLogs/$PRIMARY/CloudTrail/"
OTHER=$KEY
refused AccessDenied user1 s3 ls "s3://$BUCKET/$PREFIX/AWSLogs/$SECONDARY/"
refused AccessDenied user1 s3api get-object --bucket "$BUCKET" --key "$OWN" "$FOLDER/none"

step 'With the role it reads its own folder'
as reader sts get-caller-identity --query Arn --output text
LINES_SHOWN=3 as reader s3 ls --recursive "s3://$BUCKET/$PREFIX/AWSLogs/$SECONDARY/CloudTrail/"
as reader s3 cp --no-progress "s3://$BUCKET/$OWN" "$FOLDER/own.json.gz"
printf '     %s\n' "$(gzip -dc "$FOLDER/own.json.gz" | cut -c 1-110)..."

step '... and nothing else'
refused AccessDenied reader s3api get-object --bucket "$BUCKET" --key "$OTHER" "$FOLDER/none"
refused AccessDenied reader s3 ls "s3://$BUCKET/$PREFIX/AWSLogs/$PRIMARY/"
refused AccessDenied reader s3 ls "s3://$BUCKET"
refused AccessDenied reader s3api delete-object --bucket "$BUCKET" --key "$OWN"
refused AccessDenied reader s3api put-object --bucket "$BUCKET" --key "$PREFIX/AWSLogs/$SECONDARY/forged" --body "$FOLDER/own.json.gz"

step 'What the trails say of it'
quietly secondary cloudtrail describe-trails --query 'trailList[0].TrailARN' --output text
TRAIL=$OUTPUT
# The last calls have to be delivered, and the digest that names their files.
"$OPENTRAIL" flush --digest --data-dir "$FOLDER/data" > /dev/null
quietly primary s3 cp --recursive --no-progress "s3://$BUCKET/$PREFIX/AWSLogs/" "$FOLDER/logs"
find "$FOLDER/logs" -path '*/CloudTrail/*' -name '*.json.gz' | sort | while read -r file; do gzip -dc "$file"; echo; done |
    sed 's/{"eventVersion"/\n&/g' | grep '^{"eventVersion"' > "$FOLDER/records"
# field NAME: the first value of NAME in each record, "-" where it has none.
awk -v primary="$PRIMARY" -v secondary="$SECONDARY" -v third="$THIRD" '
    function field(name,    at, rest) {
        at = index($0, "\"" name "\":\"")
        if (!at) return ""
        rest = substr($0, at + length(name) + 4)
        return substr(rest, 1, index(rest, "\"") - 1)
    }
    {
        who = field("arn")
        if (field("type") == "AWSAccount") who = ""
        if (who == "") who = field("invokedBy")
        if (who == "") who = "account " field("accountId")
        sub(/^arn:aws:(iam|sts)::/, "", who)
        source = field("eventSource")
        sub(/\.amazonaws\.com$/, "", source)
        if (source == "s3" && (who ~ /^cloudtrail/ || field("eventName") == "ListObjects" && who ~ /admin$/)) next
        trail = field("recipientAccountId")
        name[primary] = "primary"; name[secondary] = "secondary"; name[third] = "third"
        for (id in name) gsub(id, name[id], who)
        error = field("errorCode")
        printf "%s  %-9s  %-62.62s  %s:%s%s\n", substr(field("eventTime"), 12, 8), name[trail], who, source, \
            field("eventName"), (error == "" ? "" : "  " error)
    }' "$FOLDER/records" | sort > "$FOLDER/table"
printf '   %-8s  %-9s  %-62s  %s\n' time 'trail of' who 'did what'
sed 's/^/   /' "$FOLDER/table"
while read -r expected; do
    grep -q "$expected" "$FOLDER/table" || { printf '%sNo trail has: %s%s\n' "$BAD" "$expected" "$PLAIN"; exit 1; }
done <<'END'
secondary .* cloudtrail:UpdateTrail  InsufficientS3BucketPolicyException
primary .* iam:CreateRole
primary .* iam:AttachRolePolicy
secondary .* iam:CreatePolicy
secondary .* iam:AttachUserPolicy
third .* third:user/Outsider .* sts:AssumeRole  AccessDenied
secondary .* secondary:user/CloudTrailUser1 .* sts:AssumeRole$
primary .* account secondary .* sts:AssumeRole$
primary .* account secondary .* s3:GetObject  AccessDenied
primary .*CrossAccountCloudTrail/CloudTrailUser1 .* s3:GetObject$
primary .*CrossAccountCloudTrail/CloudTrailUser1 .* s3:GetObject  AccessDenied
primary .*CrossAccountCloudTrail/CloudTrailUser1 .* s3:DeleteObject  AccessDenied
END

step 'And nobody changed a word of it'
for account in "$PRIMARY" "$SECONDARY" "$THIRD"; do
    trail=${TRAIL/$SECONDARY/$account}
    [ "$account" = "$PRIMARY" ] && trail=${trail/secondary-trail/primary-trail}
    [ "$account" = "$THIRD" ] && trail=${trail/secondary-trail/third-trail}
    as primary cloudtrail validate-logs --trail-arn "$trail" --start-time "$BEGAN" --s3-bucket "$BUCKET" \
        --s3-prefix "$PREFIX"
    [[ $OUTPUT == *valid* && $OUTPUT != *INVALID* && $OUTPUT != *"0/0 log files"* ]] || exit 1
done

printf '\n%sDone: three accounts, one bucket, and each reads only its own.%s\n' "$GOOD" "$PLAIN"
