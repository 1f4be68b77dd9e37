#!/bin/sh
# usage: as-the-cloud.sh CEND STATE COMMAND...
# Runs a command where the cloud's own host names lead to a cend: in namespaces of its own for network and mounts, which
# end with it. The access key is $CEND_KEY_ID:$CEND_KEY_SECRET. For clients that take no other endpoint.
set -eu
cend=$1
state=$2
shift 2
if [ -z "${AS_THE_CLOUD:-}" ]; then
    AS_THE_CLOUD=1 exec unshare --net --mount --pid --fork --kill-child --mount-proc "$0" "$cend" "$state" "$@"
fi
ip link set lo up
mkdir -p "$state"
{
    echo "127.0.0.1 localhost sts.aliyuncs.com vpc.aliyuncs.com cbn.aliyuncs.com"
    for region in cn-hangzhou cn-beijing cn-shanghai cn-hongkong; do
        echo "127.0.0.1 sts.$region.aliyuncs.com vpc.$region.aliyuncs.com"
    done
} > "$state/hosts"
mount --bind "$state/hosts" /etc/hosts
"$cend" --listen 127.0.0.1:80 --listen-tls 127.0.0.1:443 --access-key "$CEND_KEY_ID:$CEND_KEY_SECRET" \
    --state "$state" > "$state/cend.log" 2>&1 &
tries=0
until grep -q "listens on https://" "$state/cend.log"; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { cat "$state/cend.log" >&2; exit 1; }
    sleep 0.1
done
# Its certificate authority is the only one that is trusted here.
export REQUESTS_CA_BUNDLE="$state/ca.pem" SSL_CERT_FILE="$state/ca.pem"
"$@"
