#!/usr/bin/env bash
# Removes ConfigMapSyncs before their definition: a definition that goes first waits for the syncs' finalizers, and
# cannot be installed again meanwhile. Arguments: kubectl, how long to wait.
set -euo pipefail
kubectl=$1 timeout=$2
crd=configmapsyncs.apps.kapendra.com

if [ -z "$("$kubectl" get crd "$crd" --ignore-not-found -o name)" ]; then
  echo "$crd is not installed."
  exit
fi
echo "Deleting all ConfigMapSyncs; their copies go, except where deletionPolicy is Orphan."
if ! "$kubectl" delete "$crd" --all --all-namespaces --timeout="$timeout"; then
  cat >&2 <<END

These still wait for their copies to be cleaned up:
$("$kubectl" get "$crd" --all-namespaces -o custom-columns=NAMESPACE:.metadata.namespace,NAME:.metadata.name)

Only a running operator does that (kubectl get pods -n configmapsync-system): start it and try again.
To leave the copies where they are instead, take the finalizer off each of them:
  kubectl patch $crd NAME -n NAMESPACE --type merge -p '{"metadata":{"finalizers":null}}'
END
  exit 1
fi
"$kubectl" delete crd "$crd" --ignore-not-found
