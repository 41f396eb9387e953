#!/usr/bin/env bash
# Opentrail in front of a SeaweedFS that is already there: every call to it is recorded, nobody's client changes.
#
#     examples/seaweedfs.sh                starts a SeaweedFS and an endpoint of its own and removes both at the end
#
# Clients go on signing with the keys that SeaweedFS knows; Opentrail passes their calls through and records them.  The
# trail and its bucket are Opentrail's own.  Every step is printed, every refusal is asked for, and at the end the log
# files say what was done, and validate-logs that nobody changed them.  The exit code is 0 when each step ended as it
# should.
#
# OPENTRAIL, AWS and WEED name the three commands where they are neither on the PATH nor in .venv (`make test` puts all
# three there).
set -euo pipefail

PATH=$PATH:$(cd "$(dirname "$0")/.." && pwd)/.venv/bin
OPENTRAIL=${OPENTRAIL:-opentrail}
AWS=${AWS:-aws}
WEED=${WEED:-weed}
PYTHON=${PYTHON:-python3}
for command in "$OPENTRAIL" "$AWS" "$WEED" "$PYTHON"; do
    command -v "$command" > /dev/null || { echo "$command is not here: \`make test\` installs what this needs" >&2; exit 2; }
done
LOGS=trail-logs
REGION=eu-central-1

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    BOLD=$'\033[1;36m' GOOD=$'\033[32m' BAD=$'\033[31m' PLAIN=$'\033[0m'
else
    BOLD='' GOOD='' BAD='' PLAIN=''
fi

FOLDER=$(mktemp -d "${TMPDIR:-/tmp}/opentrail-seaweedfs-XXXXXX")
ENDPOINT= SEAWEED=
finish() {
    [ -z "$ENDPOINT" ] || kill "$ENDPOINT" 2> /dev/null || true
    [ -z "$SEAWEED" ] || kill -KILL "$SEAWEED" 2> /dev/null || true # it would take 15 s to stop
    wait 2> /dev/null || true
    if [ -n "${KEEP:-}" ]; then echo "kept: $FOLDER"; else rm -rf "$FOLDER"; fi
}
trap finish EXIT

step() { printf '\n%s%s%s\n' "$BOLD" "$1" "$PLAIN"; }
free_ports() {
    "$PYTHON" -c '
import socket, sys
taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(each.getsockname()[1] for each in taken))' "$1"
}

# as PROFILE WORDS...: a step that must succeed; what the CLI prints is shown and kept in $OUTPUT.
as() {
    local profile=$1
    shift
    printf '   %s$ aws %s\n' "$profile" "$*"
    if ! OUTPUT=$("$AWS" --profile "$profile" "$@" 2>&1); then
        printf '%s   %s%s\nThis step should have been allowed.\n' "$BAD" "$OUTPUT" "$PLAIN"
        exit 1
    fi
    [ -z "$OUTPUT" ] || printf '%s\n' "$OUTPUT" | sed -n "1,${LINES_SHOWN:-8}s/^/     /p"
}

# refused CODE PROFILE WORDS...: a step that must be refused with this error code.
refused() {
    local code=$1 profile=$2
    shift 2
    printf '   %s$ aws %s\n' "$profile" "$*"
    if OUTPUT=$("$AWS" --profile "$profile" "$@" 2>&1) || [[ $OUTPUT != *"$code"* ]]; then
        printf '%s   %s%s\nThis step should have been refused with %s.\n' "$BAD" "$OUTPUT" "$PLAIN" "$code"
        exit 1
    fi
    printf '%s     refused: %s%s\n' "$GOOD" "$(printf '%s' "$OUTPUT" | tr -d '\n' | sed 's/^ *//')" "$PLAIN"
}

wait_for() {
    for _ in $(seq 300); do
        if "${@:2}" > /dev/null 2>&1; then return; fi
        sleep 0.2
    done
    printf '%s%s did not start%s\n' "$BAD" "$1" "$PLAIN"
    tail -n 20 "$FOLDER"/*.log
    exit 1
}

step 'A SeaweedFS that has been running all along'
read -r S3 PORT MASTER VOLUME FILER S3G MASTERG VOLUMEG FILERG <<< "$(free_ports 9)"
mkdir "$FOLDER/weed"
cat > "$FOLDER/s3.json" <<'END'
{"identities": [
  {"name": "alice", "credentials": [{"accessKey": "AKIDALICE", "secretKey": "alice-of-seaweedfs"}],
   "actions": ["Admin", "Read", "Write", "List", "Tagging"]},
  {"name": "bob", "credentials": [{"accessKey": "AKIDBOB", "secretKey": "bob-of-seaweedfs"}], "actions": ["Read", "List"]}
]}
END
"$WEED" server -dir="$FOLDER/weed" -ip=127.0.0.1 -ip.bind=127.0.0.1 -filer -s3 -s3.config="$FOLDER/s3.json" \
    -master.port="$MASTER" -volume.port="$VOLUME" -filer.port="$FILER" -s3.port="$S3" -s3.port.grpc="$S3G" \
    -master.port.grpc="$MASTERG" -volume.port.grpc="$VOLUMEG" -filer.port.grpc="$FILERG" -s3.port.iceberg=0 -s3.port.lance=0 \
    -master.telemetry=false -master.volumeSizeLimitMB=64 -volume.max=50 > "$FOLDER/weed.log" 2>&1 &
SEAWEED=$!

cat > "$FOLDER/aws.conf" <<END
[profile alice]
region = $REGION
[profile bob]
region = $REGION
[profile stranger]
region = $REGION
[profile trail]
region = $REGION
END
cat > "$FOLDER/credentials" <<'END'
[alice]
aws_access_key_id = AKIDALICE
aws_secret_access_key = alice-of-seaweedfs
[bob]
aws_access_key_id = AKIDBOB
aws_secret_access_key = bob-of-seaweedfs
[stranger]
aws_access_key_id = AKIDSTRANGER
aws_secret_access_key = of-nobody
END
export AWS_CONFIG_FILE=$FOLDER/aws.conf AWS_SHARED_CREDENTIALS_FILE=$FOLDER/credentials AWS_PAGER= AWS_MAX_ATTEMPTS=1
export AWS_EC2_METADATA_DISABLED=true
wait_for SeaweedFS "$AWS" --profile alice --endpoint-url "http://127.0.0.1:$S3" s3api create-bucket --bucket ready
printf '   S3 at http://127.0.0.1:%s, with the keys of alice (may do all) and bob (may read)\n' "$S3"

step 'Opentrail in front of it'
printf '   $ opentrail serve --upstream s3=http://127.0.0.1:%s --own-buckets %s\n' "$S3" "$LOGS"
"$OPENTRAIL" serve --port "$PORT" --data-dir "$FOLDER/data" --upstream "s3=http://127.0.0.1:$S3" \
    --own-buckets "$LOGS" > "$FOLDER/opentrail.log" 2>&1 &
ENDPOINT=$!
export AWS_ENDPOINT_URL=http://127.0.0.1:$PORT
wait_for Opentrail grep -q ' listens on ' "$FOLDER/opentrail.log"
sed -e 's/^\[default\]/[trail]/' -e '/^region/d' "$FOLDER/data/credentials" >> "$FOLDER/credentials"
ACCOUNT=$("$AWS" --profile trail sts get-caller-identity --query Account --output text)

step "A trail, whose bucket is Opentrail's own"
TRAIL=arn:aws:cloudtrail:$REGION:$ACCOUNT:trail/seaweedfs
as trail s3api create-bucket --bucket "$LOGS" --create-bucket-configuration "LocationConstraint=$REGION"
"$OPENTRAIL" bucket-policy --bucket "$LOGS" --account "$ACCOUNT" --trail-arn "$TRAIL" > "$FOLDER/policy.json"
as trail s3api put-bucket-policy --bucket "$LOGS" --policy "file://$FOLDER/policy.json"
as trail cloudtrail create-trail --name seaweedfs --s3-bucket-name "$LOGS" --is-multi-region-trail \
    --enable-log-file-validation --query TrailARN --output text
as trail cloudtrail put-event-selectors --trail-name seaweedfs --query TrailARN --output text --event-selectors \
    '[{"ReadWriteType": "All", "IncludeManagementEvents": true, "DataResources": [{"Type": "AWS::S3::Object", "Values": ["arn:aws:s3"]}]}]'
as trail cloudtrail start-logging --name seaweedfs
BEGAN=$(date -u +%Y-%m-%dT%H:%M:%SZ)

step 'What people do, with the keys and commands that they always had'
printf 'hello\n' > "$FOLDER/hello.txt"
head -c 20000000 /dev/urandom > "$FOLDER/film.bin"
as alice s3api create-bucket --bucket media
as alice s3api put-object --bucket media --key hello.txt --body "$FOLDER/hello.txt" --query ETag --output text
as alice s3 cp --no-progress "$FOLDER/film.bin" s3://media/film.bin
as bob s3 cp --no-progress s3://media/film.bin "$FOLDER/copy.bin"
cmp "$FOLDER/film.bin" "$FOLDER/copy.bin"
printf '     the film came back as it went: 20 MB in parts\n'
refused AccessDenied bob s3api put-object --bucket media --key hello.txt --body "$FOLDER/film.bin"
refused InvalidAccessKeyId stranger s3api list-objects-v2 --bucket media
as alice s3api delete-object --bucket media --key hello.txt
refused NoSuchKey alice s3api get-object --bucket media --key hello.txt "$FOLDER/gone"

step 'What the trail says'
"$OPENTRAIL" flush --digest --data-dir "$FOLDER/data" > /dev/null
"$AWS" --profile trail s3 cp --quiet --recursive "s3://$LOGS/AWSLogs/$ACCOUNT/CloudTrail/" "$FOLDER/logs"
find "$FOLDER/logs" -name '*.json.gz' -exec gunzip -c {} + | "$PYTHON" -c '
import json, sys
decoder, text, records = json.JSONDecoder(), sys.stdin.read().lstrip(), []
while text:
    found, end = decoder.raw_decode(text)
    records += found["Records"]
    text = text[end:].lstrip()
for record in sorted(records, key=lambda each: each["eventTime"]):
    if (record.get("requestParameters") or {}).get("bucketName") != "media":
        continue
    key, more = record["userIdentity"].get("accessKeyId", ""), record.get("additionalEventData") or {}
    print(record["eventTime"][11:19], key.ljust(12), "vouched for by", more.get("callerVouchedForBy", "").ljust(8),
        record["eventName"], record.get("errorCode", ""))' > "$FOLDER/table"
sed 's/^/   /' "$FOLDER/table"
while read -r expected; do
    grep -qE "$expected" "$FOLDER/table" || { printf '%sThe trail does not have: %s%s\n' "$BAD" "$expected" "$PLAIN"; exit 1; }
done <<'END'
AKIDALICE .*upstream CreateBucket $
AKIDALICE .*upstream PutObject $
AKIDALICE .*upstream CreateMultipartUpload $
AKIDALICE .*upstream UploadPart $
AKIDALICE .*upstream CompleteMultipartUpload $
AKIDBOB .*upstream GetObject $
AKIDBOB .*nobody +PutObject AccessDenied$
AKIDSTRANGER .*nobody +ListObjects InvalidAccessKeyId$
AKIDALICE .*upstream DeleteObject $
AKIDALICE .*nobody +GetObject NoSuchKey$
END

step 'And nobody changed a word of it'
as trail cloudtrail validate-logs --trail-arn "$TRAIL" --start-time "$BEGAN" --s3-bucket "$LOGS"
[[ $OUTPUT == *valid* && $OUTPUT != *INVALID* && $OUTPUT != *"0/0 log files"* ]] || exit 1

printf '\n%sDone: SeaweedFS has an audit trail, and its users noticed nothing.%s\n' "$GOOD" "$PLAIN"
