#!/usr/bin/env bash
# Installs the ConfigMapSync operator, or takes it away. From a clone: deploy/install.sh. From anywhere:
#
#   curl -s https://raw.githubusercontent.com/kapendra007/k8s-operator/main/operators/src/ConfigMapSync/deploy/install.sh | bash
#
# Run again it changes what differs and nothing else. It looks before it changes anything, and every refusal is one
# sentence that names the object and the way out. `--help` tells the rest.
#
# Everything is in functions and the last line calls the first of them: half a script from a broken download does nothing.
set -euo pipefail

CRD=configmapsyncs.apps.kapendra.com
CLUSTER_CRD=clusterconfigmapsyncs.apps.kapendra.com
CRDS="$CRD $CLUSTER_CRD"
DEPLOYMENT=configmapsync-controller-manager
SHIPPED_NAMESPACE=configmapsync-system
MARK=configmapsync.apps.kapendra.com
SEED_LEASE=3fe4c69f.kapendra.com
SITE=${CONFIGMAPSYNC_SITE:-https://raw.githubusercontent.com/kapendra007/k8s-operator/main/operators/src/ConfigMapSync/deploy}
SHOWN=10 # so many names in a list

usage() {
  cat <<'END'
Installs the ConfigMapSync operator on the cluster that kubectl talks to.

Usage: install.sh [options]             install, or upgrade
       install.sh --uninstall [options]

What to do
  --uninstall          delete all ConfigMapSyncs and ClusterConfigMapSyncs, then
                       their definitions, then the operator; copies go, but
                       with deletionPolicy Orphan
    --keep-syncs       remove the operator alone; definitions, syncs of both
                       kinds and copies stay
    --keep-copies      copies stay too, as ordinary ConfigMaps
    --keep-operator    remove syncs and definitions, and leave the operator
  --finish-deletion    a definition hangs in its deletion: let the operator
                       end that (copies go as policies say), then install
  --keep-copies        the same without --uninstall: release the syncs at once,
                       copies stay, then install
  --dry-run            say what would be done (the API server checks it); change
                       nothing

How
  --image IMAGE        the operator's image
  --namespace NAME     instead of configmapsync-system
  --manifests FILE     a file or URL instead of install.yaml beside this script
  --context NAME       a context of the kubeconfig; KUBECONFIG is honoured
  --timeout TIME       how long to wait for each thing, as 90, 90s or 5m [5m]
  --no-wait            do not wait for the operator to be available
  --no-count           do not count which copies will change (reads ConfigMaps)
  --yes                do not ask
  --help               this

Environment: KUBECTL, the kubectl to use.
Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 nothing was changed
because it needs a yes and nobody could be asked.
END
}

say() { printf '%s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
misused() { printf 'error: %s; see install.sh --help\n' "$*" >&2; exit 2; }

k() { "$KUBECTL" ${CONTEXT:+--context "$CONTEXT"} "$@"; }
# kubectl's own words, without its prefix, in one line.
words() { sed -e 's/^error: //' -e 's/^Error from server ([A-Za-z]*): //' | grep -v '^E[0-9]\{4\} ' | tail -n 3 | tr '\n' ' ' | sed 's/ *$//'; }

# --- arguments ----------------------------------------------------------------------------------------------------

arguments() {
  KUBECTL=${KUBECTL:-kubectl} CONTEXT='' TODO=install IMAGE='' NAMESPACE=$SHIPPED_NAMESPACE MANIFESTS='' TIMEOUT=5m
  DRY='' WAIT=yes COUNT=yes YES='' KEEP='' COPIES='' FINISH=''
  while [ $# -gt 0 ]; do
    case $1 in
      --image=* | --namespace=* | --manifests=* | --context=* | --timeout=*)
        set -- "${1%%=*}" "${1#*=}" "${@:2}"; continue ;;
      --image | --namespace | --manifests | --context | --timeout)
        [ -n "${2:-}" ] || misused "$1 needs a value"
        case $1 in
          --image) IMAGE=$2 ;;
          --namespace) NAMESPACE=$2 ;;
          --manifests) MANIFESTS=$2 ;;
          --context) CONTEXT=$2 ;;
          --timeout) TIMEOUT=$2 ;;
        esac
        shift ;;
      --uninstall) TODO=uninstall ;;
      --keep-syncs) KEEP=syncs ;;
      --keep-operator) KEEP=operator ;;
      --keep-copies) COPIES=keep ;;
      --finish-deletion) FINISH=yes ;;
      --dry-run) DRY=yes ;;
      --no-wait) WAIT='' ;;
      --no-count) COUNT='' ;;
      --yes | -y) YES=yes ;;
      --help | -h) usage; exit 0 ;;
      *) misused "unknown option $1" ;;
    esac
    shift
  done
  case $TIMEOUT in
    *[!0-9smh]* | '' | [smh]*) misused "--timeout is written as 90, 90s or 5m, not $TIMEOUT" ;;
    *h) SECONDS_MAX=$((${TIMEOUT%h} * 3600)) ;;
    *m) SECONDS_MAX=$((${TIMEOUT%m} * 60)) ;;
    *) SECONDS_MAX=${TIMEOUT%s} ;;
  esac
  case $NAMESPACE in *[!a-z0-9-]* | -* | *-) misused "--namespace: $NAMESPACE is no namespace's name" ;; esac
  case $IMAGE in *[!A-Za-z0-9._:/@-]*) misused "--image: $IMAGE is no image's name" ;; esac
  [ $TODO = uninstall ] || [ -z "$KEEP" ] || misused "--keep-$KEEP goes with --uninstall"
  [ -z "$FINISH" ] || [ $TODO = install ] || misused "--finish-deletion does not go with --uninstall"
  [ -z "$FINISH" ] || [ -z "$COPIES" ] || misused "--finish-deletion takes copies along and --keep-copies leaves them: choose one"
  [ -z "$KEEP" ] || [ -z "$COPIES" ] || misused "--keep-$KEEP and --keep-copies: choose one"
}

# --- looking ------------------------------------------------------------------------------------------------------

preflight_cluster() {
  command -v "$KUBECTL" >/dev/null 2>&1 ||
    die "$KUBECTL is not found: install kubectl (https://kubernetes.io/docs/tasks/tools/) or name it in KUBECTL"
  local answer server context
  context=${CONTEXT:-$(k config current-context 2>/dev/null || echo '(none)')}
  server=$(k config view --minify -o 'jsonpath={.clusters[0].cluster.server}' 2>/dev/null || true)
  answer=$(k get --raw /version --request-timeout=15s 2>&1) ||
    die "no cluster answers kubectl (context $context${server:+, $server}): $(words <<<"$answer"); choose one with --context or KUBECONFIG"
  local major minor
  major=$(sed -n 's/.*"major": *"\([0-9]*\).*/\1/p' <<<"$answer")
  minor=$(sed -n 's/.*"minor": *"\([0-9]*\).*/\1/p' <<<"$answer")
  VERSION=$major.$minor
  if [ -z "$major" ] || [ "$major" -lt 1 ] || { [ "$major" -eq 1 ] && [ "$minor" -lt 30 ]; }; then
    die "the cluster of context $context is Kubernetes $VERSION and the operator needs 1.30 or newer: upgrade the cluster, or choose another with --context"
  fi
  say "Cluster: context $context${server:+, $server}, Kubernetes $VERSION"
}

# Everything that will be applied, in one file.
fetch_manifests() {
  WORK=$(mktemp -d)
  trap 'rm -rf "$WORK"' EXIT
  local here='' from=$MANIFESTS
  if [ -z "$from" ]; then
    # Piped into bash there is no file to stand beside.
    [ -n "${BASH_SOURCE[0]:-}" ] && [ -f "${BASH_SOURCE[0]}" ] && here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
    if [ -n "$here" ] && [ -f "$here/install.yaml" ]; then from=$here/install.yaml; else from=$SITE/install.yaml; fi
  fi
  case $from in
    *://*)
      if command -v curl >/dev/null; then curl -fsSL "$from" -o "$WORK/shipped.yaml"
      elif command -v wget >/dev/null; then wget -q "$from" -O "$WORK/shipped.yaml"
      else die "neither curl nor wget is here to fetch $from: clone the repository and run deploy/install.sh there"
      fi || die "$from could not be fetched: check the connection, or clone the repository and run deploy/install.sh there" ;;
    *) cp "$from" "$WORK/shipped.yaml" 2>/dev/null || die "the manifests $from cannot be read: name a file or URL with --manifests" ;;
  esac
  grep -q "^  name: $CRD\$" "$WORK/shipped.yaml" && grep -q '^kind: Deployment$' "$WORK/shipped.yaml" ||
    die "$from is not the operator's install.yaml: name that with --manifests"
  sed -e "s/$SHIPPED_NAMESPACE/$NAMESPACE/g" ${IMAGE:+-e "s|^\( *\)image: .*|\1image: $IMAGE|"} "$WORK/shipped.yaml" >"$WORK/all.yaml"
  # shellcheck disable=SC2086 # one word each
  without $CRDS >"$WORK/rest.yaml"
}

# all.yaml without these definitions: for the days when one has to go before the other.
without() { # definitions...
  awk -v names=" $* " '
    function flush() { if (text != "" && !skip) printf "---\n%s", text; text = ""; is_crd = 0; skip = 0 }
    /^---/ { flush(); next }
    /^kind: CustomResourceDefinition$/ { is_crd = 1 }
    is_crd && /^  name: / && index(names, " " $2 " ") { skip = 1 }
    { text = text $0 "\n" }
    END { flush() }' "$WORK/all.yaml"
}

# Those documents of all.yaml that are of a kind (1), or all others (0).
documents() { # kind, 1 or 0
  awk -v kind="$1" -v wanted="$2" '
    function flush() { if (text != "" && is_it == wanted) printf "---\n%s", text; text = ""; is_it = 0 }
    /^---/ { flush(); next }
    $0 == "kind: " kind { is_it = 1 }
    { text = text $0 "\n" }
    END { flush() }' "$WORK/all.yaml"
}

# The resources of the manifests, as kubectl auth can-i takes them.
resources() {
  awk '/^apiVersion:/ { n = split($2, a, "/"); group = n == 2 ? "." a[1] : "" } /^kind:/ { print tolower($2) group }' "$WORK/all.yaml" | sort -u
}

preflight_rights() { # verb...
  k auth can-i '*' '*' --all-namespaces >/dev/null 2>&1 && return
  local verb resource missing=''
  for resource in $(resources); do
    for verb in "$@"; do
      k auth can-i "$verb" "$resource" -n "$NAMESPACE" >/dev/null 2>&1 || missing="$missing, $verb $resource"
    done
  done
  [ -z "$missing" ] ||
    die "your account may not: ${missing#, }; have an administrator grant that (cluster-admin has it) or run this"
}

# What a definition is: absent, there or going.
crd_state() { # definition
  local deletion
  deletion=$(k get crd "$1" --ignore-not-found -o 'jsonpath={.metadata.name}:{.metadata.deletionTimestamp}') || die "the definition $1 cannot be read: $KUBECTL get crd $1 tells why"
  case $deletion in '') echo absent ;; *:) echo there ;; *) echo going ;; esac
}

# Which definitions exist, and which of these are being deleted. A cluster of before the second kind has the first alone.
look_at_crds() {
  local crd state
  EXISTING='' GOING=''
  for crd in $CRDS; do
    state=$(crd_state "$crd")
    [ "$state" = absent ] || EXISTING="$EXISTING $crd"
    [ "$state" != going ] || GOING="$GOING $crd"
  done
}

exists() { case " $EXISTING " in *" $1 "*) ;; *) return 1 ;; esac; } # definition

preflight_namespace() {
  local phase
  phase=$(k get namespace "$NAMESPACE" --ignore-not-found -o 'jsonpath={.status.phase}')
  NAMESPACE_PHASE=$phase
  [ "$phase" != Terminating ] ||
    die "the namespace $NAMESPACE is being deleted: wait until \`$KUBECTL get namespace $NAMESPACE\` finds nothing, then run this again"
}

# What runs at the place of our Deployment: none, ours, or former (of another selector or without our label: the operator
# in Go, whichever way it was installed).
preflight_operator() {
  local facts helm
  facts=$(k get deployment "$DEPLOYMENT" -n "$NAMESPACE" --ignore-not-found -o \
    'jsonpath={.metadata.name}|{.metadata.labels.app\.kubernetes\.io/part-of}|{.metadata.labels.app\.kubernetes\.io/managed-by}|{.spec.replicas}|{.spec.template.spec.containers[0].image}') ||
    die "the Deployment $NAMESPACE/$DEPLOYMENT cannot be read: $KUBECTL get deployment $DEPLOYMENT -n $NAMESPACE tells why"
  OPERATOR=none REPLICAS=''
  [ -n "$facts" ] || return 0
  local part
  IFS='|' read -r _ part helm REPLICAS OPERATOR_IMAGE <<<"$facts"
  [ "$helm" != Helm ] ||
    die "the Deployment $NAMESPACE/$DEPLOYMENT belongs to a Helm release: upgrade or remove it with helm"
  if [ "$part" = configmapsync ]; then OPERATOR=ours; else OPERATOR=former; fi
  # A selector can never be changed: the API server itself says whether ours fits.
  if [ $OPERATOR = ours ] && [ $TODO = install ] &&
    k apply --server-side --force-conflicts --dry-run=server -f "$WORK/rest.yaml" 2>&1 >/dev/null | grep -q "Deployment.*$DEPLOYMENT.*immutable"; then
    OPERATOR=former
  fi
}

# An operator of ours or the former one in another namespace would write the same copies.
preflight_elsewhere() {
  local others
  others=$(k get deployments --all-namespaces -o 'go-template={{range .items}}{{$d := .}}{{range .spec.template.spec.containers}}{{$d.metadata.namespace}}/{{$d.metadata.name}} {{.image}}{{"\n"}}{{end}}{{end}}' 2>/dev/null |
    awk -v own="$NAMESPACE/$DEPLOYMENT" '$1 != own && $2 ~ /(^|\/)configmapsync[:@]|(^|\/)configmapsync$/ { print $1 }' | sort -u) || return 0
  [ -n "$others" ] || return 0
  local first=${others%%$'\n'*}
  die "an operator runs as Deployment $first too, and two would write the same copies: remove it ($KUBECTL delete deployment ${first#*/} -n ${first%/*}), or upgrade it in place with --namespace ${first%/*}"
}

# Kind and [namespace/]name, a line for each object of these definitions.
OBJECT='{{.kind}} {{with .metadata.namespace}}{{.}}/{{end}}{{.metadata.name}}'
list_objects() { # definitions...
  local crd
  for crd in "$@"; do
    k get "$crd" --all-namespaces -o "go-template={{range .items}}$OBJECT"'{{"\n"}}{{end}}' || return 1
  done
}

# How many of each kind such lines are: "2 ConfigMapSyncs and 1 ClusterConfigMapSyncs".
in_words() {
  awk 'NF { if ($1 == "ClusterConfigMapSync") many++; else one++ }
    END { printf "%s%s%s\n", one || !many ? one + 0 " ConfigMapSyncs" : "", one && many ? " and " : "", many ? many " ClusterConfigMapSyncs" : "" }'
}

# namespace/name <tab> source <tab> destination <tab> suspended, a line for each sync.
list_syncs() {
  k get "$CRD" --all-namespaces -o 'go-template={{range .items}}{{.metadata.namespace}}/{{.metadata.name}}{{with .spec}}{{"\t"}}{{.sourceNamespace}}/{{.configMapName}}{{"\t"}}{{.destinationNamespace}}/{{or .destinationName .configMapName}}{{"\t"}}{{or .suspend false}}{{else}}{{"\t\t\t"}}{{end}}{{"\n"}}{{end}}'
}

# place <tab> content, a line for each ConfigMap. The content of one is quoted and sorted by key: equal lines, equal content.
list_contents() {
  k get configmaps --all-namespaces -o 'go-template={{range .items}}{{.metadata.namespace}}/{{.metadata.name}}{{"\t"}}{{range $k, $v := .data}}{{printf "%q=%q " $k $v}}{{end}}|{{range $k, $v := .binaryData}}{{printf "%q=%q " $k $v}}{{end}}{{"\n"}}{{end}}'
}

shorten() { awk -v most="$SHOWN" 'NR <= most { print "  " $0 } END { if (NR > most) print "  and " NR - most " more" }'; }

# Two syncs with one destination: one keeps it, the others stall. And how many copies will not stay as they are.
preflight_syncs() {
  CHANGES=0
  local many=0
  if exists "$CLUSTER_CRD"; then many=$(list_objects "$CLUSTER_CRD" 2>/dev/null | wc -l | tr -d ' ') || many=0; fi
  [ "$many" -eq 0 ] || say "ClusterConfigMapSyncs: $many"
  exists "$CRD" || return 0
  list_syncs >"$WORK/syncs" 2>"$WORK/errors" || { warn "the ConfigMapSyncs could not be listed: $(words <"$WORK/errors")"; return 0; }
  local number contested
  number=$(wc -l <"$WORK/syncs" | tr -d ' ')
  [ "$number" -gt 0 ] || return 0
  say "ConfigMapSyncs: $number"
  contested=$(awk -F'\t' '$3 != "" { if ($3 in who) who[$3] = who[$3] " and " $1; else who[$3] = $1; n[$3]++ } END { for (p in n) if (n[p] > 1) print p ": " who[p] }' "$WORK/syncs" | sort)
  if [ -n "$contested" ]; then
    warn "these destinations are wanted by more than one ConfigMapSync; one keeps each, the others will be Stalled (DestinationConflict) until you delete them or give them another destinationName:"
    shorten <<<"$contested" >&2
  fi
  # Where ours runs already, copies are in order or being put in order.
  if [ -z "$COUNT" ] || [ "$OPERATOR" = ours ]; then return 0; fi
  if ! list_contents >"$WORK/contents" 2>"$WORK/errors"; then
    warn "which copies will change could not be counted: $(words <"$WORK/errors")"
    return 0
  fi
  awk -F'\t' '
    FILENAME == ARGV[1] { if ($2 != "" && $4 != "true") { source[$3] = $2; named[$2]; named[$3] } next }
    $1 in named { content[$1] = substr($0, length($1) + 2) }
    END {
      for (place in source) {
        if (!(source[place] in content)) print "missing\t" place " (no source " source[place] ")"
        else if (!(place in content)) print "new\t" place
        else if (content[place] != content[source[place]]) print "changed\t" place
        else print "same\t" place
      }
    }' "$WORK/syncs" "$WORK/contents" | sort >"$WORK/plan"
  tally() { grep -c "^$1	" "$WORK/plan" || true; }
  CHANGES=$(tally changed)
  say "Copies: $(tally same) in order, $CHANGES to be overwritten with what their source holds now, $(tally new) to be made, $(tally missing) without a source (left as they are)"
  sed -n 's/^changed	//p' "$WORK/plan" | shorten
}

# --- what clusters have of their own ------------------------------------------------------------------------------

# The Deployment's template as it will be: what others set on ours, such as a proxy, stays.
template() { # output
  if [ "$OPERATOR" = ours ]; then k apply --server-side --force-conflicts --dry-run=server -f "$WORK/deployment.yaml" -o "$1"
  else k create --dry-run=client -f "$WORK/deployment.yaml" -o "$1"
  fi
}

# The variables of the operator's container, a line each.
variables() { printf 'jsonpath={range %s.containers[?(@.name=="manager")].env[*]}{.name}={.value}{"\\n"}{end}' "$1"; } # where

# A Pod as the Deployment's controller will make it, and the variables that it has.
write_pod() {
  documents Deployment 1 >"$WORK/deployment.yaml"
  template 'jsonpath={.spec.template}' >"$WORK/template.json" 2>"$WORK/errors" &&
    template "$(variables .spec.template.spec)" >"$WORK/variables" 2>"$WORK/errors" ||
    die "the Deployment of the manifests is not taken: $(words <"$WORK/errors"); mend that and run this again"
  sed -e "1s/\"metadata\":{/&\"generateName\":\"$DEPLOYMENT-\",/" -e '1s/^{/{"apiVersion":"v1","kind":"Pod",/' "$WORK/template.json" >"$WORK/pod.json"
}

# Asks the API server whether it takes that Pod in a namespace: it looks at priority classes, quotas, Pod Security and policies,
# calls webhooks, and makes nothing. As who makes Pods, where we may: some rules are others for an administrator.
pod_is_taken() { # namespace
  local account as=''
  account=$(sed -n 's/.*"serviceAccountName":"\([^"]*\)".*/\1/p' "$WORK/pod.json")
  # The first time its account comes later.
  if [ -z "$account" ] || k get serviceaccount "$account" -n "$1" >/dev/null 2>&1; then cp "$WORK/pod.json" "$WORK/asked.json"
  else sed 's/"serviceAccount\(\(Name\)\{0,1\}\)":"[^"]*"/"serviceAccount\1":"default"/g' "$WORK/pod.json" >"$WORK/asked.json"
  fi
  if k auth can-i impersonate serviceaccounts/replicaset-controller -n kube-system >/dev/null 2>&1; then
    as=system:serviceaccount:kube-system:replicaset-controller
  fi
  k create ${as:+--as "$as"} --dry-run=server --validate=false -n "$1" -f "$WORK/asked.json" -o "$(variables .spec)" >"$WORK/asked" 2>"$WORK/errors" &&
    mv "$WORK/asked" "$WORK/variables"
}

# What the API server says of that Pod, in VERDICT, and its words in TOLD.
ask_for_pod() { # namespace
  VERDICT=taken TOLD=''
  if pod_is_taken "$1"; then return; fi
  TOLD=$(grep -v '^Warning' "$WORK/errors" |
    sed -e 's/error when creating "[^"]*": //' -e 's/^Error from server: //' -e 's/pods "[^"]*" is forbidden: //' -e 's/^The pods "[^"]*" is invalid: : //' | words)
  case $TOLD in
    *'cannot create resource'* | *'looking up service account'*) VERDICT=unknown ;;
    *'insufficient quota to match'*) VERDICT=limited ;;
    *'exceeded quota'*) VERDICT=full ;;
    *'no PriorityClass'*) VERDICT=classless ;;
    *) VERDICT=refused ;;
  esac
}

priority_class() { sed -n 's/.*"priorityClassName":"\([^"]*\)".*/\1/p' "$WORK/pod.json"; }

refuse_pod() { # what is there already
  local way="make the manifests fit that, or exempt the namespace $NAMESPACE from it"
  case $VERDICT in
    limited) way="add a ResourceQuota for the priority class $(priority_class) to the manifests, as deploy/overlays/production/resource_quota.yaml is, or name no class" ;;
    full) way="raise that quota" ;;
    classless) way="name a class that $KUBECTL get priorityclasses shows, or none" ;;
  esac
  die "the API server takes no Pod like the operator's in the namespace $NAMESPACE: $TOLD; $way, then run this again${1:+ ($1)}"
}

preflight_pods() {
  ASK_AGAIN=''
  write_pod
  if [ -z "$NAMESPACE_PHASE" ]; then preflight_pods_elsewhere; return; fi
  ask_for_pod "$NAMESPACE"
  case $VERDICT in
    taken) say "Pods: the API server takes one like the operator's" ;;
    unknown) say "Pods: whether the API server takes them is not known: $TOLD" ;;
    limited) limited_classes ;;
    # Those that run may be what fills it.
    full) [ "$OPERATOR" != none ] || refuse_pod ''; warn "there may be no room for new Pods of the operator: $TOLD; raise that quota if they do not come" ;;
    *) refuse_pod '' ;;
  esac
}

# In a namespace that is not there nothing can be asked. Another one tells of priority classes; quotas and labels may be others there.
preflight_pods_elsewhere() {
  ASK_AGAIN=yes
  ask_for_pod default
  local later="it is asked again when the namespace $NAMESPACE is there"
  case $VERDICT in
    taken) say "Pods: the API server takes one like the operator's in the namespace default; $later" ;;
    unknown) say "Pods: whether the API server takes them is not known: $TOLD" ;;
    limited) limited_classes ;;
    classless) refuse_pod '' ;;
    *) say "Pods: in the namespace default the API server takes none like the operator's: $TOLD; $later" ;;
  esac
}

# As on GKE.
limited_classes() {
  grep -q '^kind: ResourceQuota$' "$WORK/all.yaml" || refuse_pod ''
  ASK_AGAIN=yes
  say "Pods: this cluster takes those of the class $(priority_class) only where a ResourceQuota lets them in, and the manifests bring one"
}

pod_is_welcome() {
  ask_for_pod "$NAMESPACE"
  case $VERDICT in taken | unknown) ;; full) [ "$OPERATOR" != none ] ;; *) return 1 ;; esac
}

preflight_openshift() {
  k get --raw /apis/security.openshift.io >/dev/null 2>&1 || return 0
  local user
  user=$(sed -n 's/.*"runAsUser":\([0-9]*\).*/\1/p' "$WORK/pod.json")
  if [ -z "$user" ]; then say "OpenShift: it gives the Pods a user of the namespace's own; the manifests name none"
  elif [ -n "$ASK_AGAIN" ]; then warn "the manifests have the Pods run as user $user, and OpenShift's restricted-v2 takes users of the namespace's own range only: remove runAsUser from them"
  fi
}

# Whether a list as in NO_PROXY has an address, by itself or by its network.
exempts() { # list, address
  awk -v list="$1" -v address="$2" '
    function number(ip, part) { split(ip, part, "."); return ((part[1] * 256 + part[2]) * 256 + part[3]) * 256 + part[4] }
    function has(host, net, size) {
      if (host == "*" || host == address) return 1
      if (split(host, net, "/") != 2) return 0
      # Of these nothing is worked out here.
      if (address ~ /:/) return host ~ /:/
      size = 2 ^ (32 - net[2])
      return net[1] ~ /^[0-9.]+$/ && int(number(address) / size) == int(number(net[1]) / size)
    }
    BEGIN { n = split(list, hosts, /[ ,]+/); for (i = 1; i <= n; i++) if (has(hosts[i])) exit 0; exit 1 }'
}

# The Pods' proxy is what their variables say, also what a webhook of the cluster adds to them. Values may hold a password.
preflight_proxy() {
  local name exempt address
  name=$(sed -n -E 's/^(HTTPS_PROXY|https_proxy|ALL_PROXY|all_proxy)=..*/\1/p' "$WORK/variables" | head -n 1)
  [ -n "$name" ] || return 0
  address=$(k get service kubernetes -n default -o 'jsonpath={.spec.clusterIP}' 2>/dev/null) || return 0
  exempt=$(sed -n -E 's/^(NO_PROXY|no_proxy)=//p' "$WORK/variables" | tr '\n' ',')
  if exempts "$exempt" "$address"; then say "Proxy: the Pods have $name, and NO_PROXY exempts the API server ($address)"
  else warn "the Pods have $name and their NO_PROXY does not exempt the API server, so the operator will ask the proxy for it: add $address, or the network of Services, to NO_PROXY"
  fi
}

# The TCP ports that the manifests' NetworkPolicies let out to; `any` stands for all.
ports_out() {
  documents NetworkPolicy 1 >"$WORK/network.yaml"
  [ ! -s "$WORK/network.yaml" ] || k create --dry-run=client -f "$WORK/network.yaml" -o \
    'go-template={{define "o"}}{{range .spec.egress}}{{if .ports}}{{range .ports}}{{if eq (or .protocol "TCP") "TCP"}}{{or .port "any"}}{{with .endPort}}-{{.}}{{end}} {{end}}{{end}}{{else}}any {{end}}{{else}}{{range .spec.policyTypes}}{{if eq . "Egress"}}none {{end}}{{end}}{{end}}{{end}}{{if .items}}{{range .items}}{{template "o" .}}{{end}}{{else}}{{template "o" .}}{{end}}' 2>/dev/null || true
}

preflight_network() {
  local out port
  out=$(ports_out)
  case $out in '' | *-*) return 0 ;; esac
  for port in $(k get endpointslices -n default -l kubernetes.io/service-name=kubernetes -o 'jsonpath={.items[*].ports[*].port}' 2>/dev/null); do
    case " $out " in
      *' any '* | *" $port "*) say "Network: the API server listens on port $port, to which the NetworkPolicy lets the operator out" ;;
      *) warn "the NetworkPolicy of the manifests does not let the operator out to port $port, where the API server listens: add that port to its egress, or let TCP out to any, as deploy/overlays/production/network_policy.yaml does" ;;
    esac
  done
}

# Kinds of Prometheus Operator that are ours, each with what a Prometheus selects it by.
MONITORS='ServiceMonitor:serviceMonitor PodMonitor:podMonitor PrometheusRule:rule'
OUR_LABELS=,app.kubernetes.io/name=configmapsync,app.kubernetes.io/part-of=configmapsync,
PAIRS='{{define "pairs"}},{{range $k, $v := .}}{{$k}}={{$v}},{{end}}{{end}}'
SELECTOR='{{define "selector"}}{{if eq (printf "%T" .) "<nil>"}}null{{else if .matchExpressions}}unknown{{else}}{{template "pairs" .matchLabels}}{{end}}{{end}}'

# Lines, split by tabs, of what selects (S, who, kind, selector of objects, of namespaces), what is to be selected (M, kind,
# namespace, name, labels) and namespaces (N, name, labels). What is on the cluster and in the manifests is put together.
list_monitoring() {
  local kind field object namespaces
  for kind in $MONITORS; do
    field=${kind#*:} kind=${kind%:*}
    k get prometheuses.monitoring.coreos.com --all-namespaces -o "go-template=$PAIRS$SELECTOR{{range .items}}S{{\"\\t\"}}{{.metadata.namespace}}/{{.metadata.name}}{{\"\\t\"}}$kind{{\"\\t\"}}{{template \"selector\" .spec.${field}Selector}}{{\"\\t\"}}{{template \"selector\" .spec.${field}NamespaceSelector}}{{\"\\n\"}}{{end}}" || return 1
    object="{{define \"o\"}}M{{\"\\t\"}}$kind{{\"\\t\"}}{{.metadata.namespace}}{{\"\\t\"}}{{.metadata.name}}{{\"\\t\"}}{{template \"pairs\" .metadata.labels}}{{\"\\n\"}}{{end}}"
    k get "$kind.monitoring.coreos.com" --all-namespaces -l app.kubernetes.io/part-of=configmapsync -o "go-template=$PAIRS$object{{range .items}}{{template \"o\" .}}{{end}}" 2>/dev/null || true
    documents "$kind" 1 >"$WORK/monitor.yaml"
    [ ! -s "$WORK/monitor.yaml" ] || k create --dry-run=client -f "$WORK/monitor.yaml" -o "go-template=$PAIRS$object{{if .items}}{{range .items}}{{template \"o\" .}}{{end}}{{else}}{{template \"o\" .}}{{end}}" || return 1
  done
  namespaces="{{define \"o\"}}N{{\"\\t\"}}{{.metadata.name}}{{\"\\t\"}},kubernetes.io/metadata.name={{.metadata.name}}{{template \"pairs\" .metadata.labels}}{{\"\\n\"}}{{end}}"
  documents Namespace 1 >"$WORK/namespace.yaml"
  [ ! -s "$WORK/namespace.yaml" ] || k create --dry-run=client -f "$WORK/namespace.yaml" -o "go-template=$PAIRS$namespaces{{template \"o\" .}}"
  k get namespaces -o "go-template=$PAIRS$namespaces{{range .items}}{{template \"o\" .}}{{end}}" 2>/dev/null || true
}

# For each of ours: selected, unknown, or why not, then kind, namespace, name, who does not select it, and by which labels that
# one selects. Without one of ours, the ServiceMonitor of deploy/overlays/monitoring stands for what may come.
judge_monitoring() {
  awk -F'\t' -v namespace="$NAMESPACE" -v labels="$OUR_LABELS" '
    function fits(selector, labels, part, n, i) {
      if (selector == "null") return 0
      if (selector == "unknown") return -1
      n = split(selector, part, ",")
      for (i = 1; i <= n; i++) if (part[i] != "" && !index(labels, "," part[i] ",")) return 0
      return 1
    }
    function judge(kind, space, name, labels, i, own, its, verdict, who, by) {
      for (i = 1; i <= n; i++) {
        if (kinds[i] != kind) continue
        own = fits(selectors[i], labels)
        its = spaces[i] == "null" ? index(whos[i], space "/") == 1 : fits(spaces[i], known[space])
        if (own == 1 && its == 1) { verdict = "selected"; who = whos[i]; break }
        if (own && its) verdict = "unknown"
        if (verdict != "") continue
        who = whos[i]; by = own ? spaces[i] : selectors[i]
        verdict = by == "null" ? (own ? "elsewhere" : "none") : (own ? "space" : "labels")
      }
      gsub(/^,|,$/, "", by); gsub(/,/, " ", by)
      print (verdict == "" ? "unknown" : verdict) "|" kind "|" space "|" name "|" who "|" by
    }
    $1 == "S" { whos[++n] = $2; kinds[n] = $3; selectors[n] = $4; spaces[n] = $5 }
    $1 == "M" { key = $2 "\t" $3 "\t" $4; ours[key] = ours[key] $5 }
    $1 == "N" { known[$2] = known[$2] $3 }
    END {
      for (key in ours) { split(key, part, "\t"); judge(part[1], part[2], part[3], ours[key]); some = 1 }
      if (!some) judge("ServiceMonitor", namespace, "", labels)
    }' "$1" | sort
}

preflight_monitoring() {
  local kinds
  if ! kinds=$(k get --raw /apis/monitoring.coreos.com/v1 2>/dev/null); then
    ! grep -q '^apiVersion: monitoring.coreos.com/' "$WORK/all.yaml" ||
      die "the manifests have monitors for Prometheus Operator, which this cluster does not have: install it first, or leave them out"
    return 0
  fi
  case $kinds in *'"prometheuses"'*) ;; *) return 0 ;; esac
  list_monitoring >"$WORK/monitoring" 2>"$WORK/errors" || { say "Prometheus Operator: what it selects is not known: $(words <"$WORK/errors")"; return 0; }
  local verdict kind space name who by
  while IFS='|' read -r verdict kind space name who by; do
    if [ -n "$name" ]; then tell_unselected; else tell_unmonitored; fi
  done <<<"$(judge_monitoring "$WORK/monitoring")"
}

# Why a Prometheus does not select something, and the way out. It knows what judge_monitoring said.
why_unselected() { # what kubectl is to label
  case $verdict in
    labels) say "Prometheus $who selects by $by ($KUBECTL label $1 -n $space $by)" ;;
    none) say "Prometheus $who selects none of its kind (give its selector for them the value {})" ;;
    space) say "Prometheus $who looks into namespaces with $by ($KUBECTL label namespace $space $by)" ;;
    elsewhere) say "Prometheus $who looks into its own namespace alone (give its selector of namespaces the value {})" ;;
  esac
}

tell_unselected() {
  case $verdict in selected | unknown) return ;; esac
  warn "no Prometheus selects the operator's $kind $space/$name: $(why_unselected "$kind $name")"
}

tell_unmonitored() {
  local overlay=monitoring why=''
  if [ "$verdict $by" = 'labels release=kube-prometheus-stack' ]; then overlay=kube-prometheus-stack
  else why=$(why_unselected "servicemonitor,prometheusrule $DEPLOYMENT")
  fi
  say "Prometheus Operator: it is here and scrapes no operator of ours; afterwards: $KUBECTL apply -k deploy/overlays/$overlay${why:+; $why}"
}

# --- asking -------------------------------------------------------------------------------------------------------

confirm() { # what will happen
  [ -z "$YES" ] && [ -z "$DRY" ] || return 0
  # Standard input is the script itself where it was piped into bash.
  if ! { exec 3</dev/tty; } 2>/dev/null; then
    printf 'error: %s: nothing was changed, since nobody is here to say yes; run it again with --yes\n' "$1" >&2
    exit 3
  fi
  local answer=''
  printf '%s. Go on? [y/N] ' "$1" >/dev/tty
  IFS= read -r answer <&3 || true
  exec 3<&-
  case $answer in [yY] | [yY][eE][sS]) ;; *) say "Nothing was changed."; exit 3 ;; esac
}

# --- waiting ------------------------------------------------------------------------------------------------------

# Looks every second until it succeeds or time is up.
within() { # seconds, command...
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 1
  done
}

is_established() { [ "$(k get crd "$1" --ignore-not-found -o 'jsonpath={.status.conditions[?(@.type=="Established")].status}' 2>/dev/null)" = True ]; }
crd_is_gone() { [ "$(crd_state "$1")" = absent ]; }
# Only a list that came says that nothing is there: one that failed is no answer.
nothing() { local found; found=$(k get "$@" -o name 2>/dev/null) && [ -z "$found" ]; }
no_pods() { nothing pods -n "$NAMESPACE" -l "$1"; }
no_objects() { # definitions...
  local crd
  for crd in "$@"; do nothing "$crd" --all-namespaces || return 1; done
}

is_available() {
  local facts generation seen wanted updated available all
  facts=$(k get deployment "$DEPLOYMENT" -n "$NAMESPACE" -o 'jsonpath={.metadata.generation}|{.status.observedGeneration}|{.spec.replicas}|{.status.updatedReplicas}|{.status.availableReplicas}|{.status.replicas}' 2>/dev/null) || return 1
  IFS='|' read -r generation seen wanted updated available all <<<"$facts"
  [ "${seen:-0}" -ge "$generation" ] && [ "${updated:-0}" -ge "$wanted" ] && [ "${available:-0}" -ge "$wanted" ] && [ "${all:-0}" -le "$wanted" ]
}

# Why the operator's pods do not run, in one line, from what the cluster says of them.
why_not_available() {
  local pods
  pods=$(k get pods -n "$NAMESPACE" -l control-plane=controller-manager -o \
    'go-template={{range .items}}pod {{.metadata.name}}|{{.status.phase}}|{{range .status.conditions}}{{if eq .type "Ready"}}{{.status}}{{end}}{{end}}|{{range .status.conditions}}{{if and (eq .type "PodScheduled") (eq .status "False")}}{{.reason}}: {{.message}}{{end}}{{end}}|{{.spec.nodeName}}|{{range .status.containerStatuses}}{{with .state.waiting}}{{.reason}}: {{.message}}{{end}}{{with .state.terminated}}{{.reason}}, exit code {{.exitCode}}{{end}}{{if not .ready}} {{.restartCount}} restarts{{end}}{{end}}{{"\n"}}{{end}}' 2>/dev/null) || true
  if [ -z "$pods" ]; then
    local told
    told=$(k get deployment "$DEPLOYMENT" -n "$NAMESPACE" -o 'jsonpath={range .status.conditions[?(@.type=="ReplicaFailure")]}{.message}{end}' 2>/dev/null || true)
    [ -n "$told" ] || told=$(events ReplicaSet)
    say "no pod was made: ${told:-the controllers of the cluster made none}"
    return
  fi
  local pod phase ready unscheduled node container
  while IFS='|' read -r pod phase ready unscheduled node container; do
    # Those of before an upgrade work on meanwhile.
    [ "$ready" != True ] || continue
    node=${node#<no value>} container=${container//<no value>/} container=${container% 0 restarts}
    if [ -n "$unscheduled" ]; then say "$pod is on no node: $unscheduled"
    elif [ -z "$node" ]; then say "$pod is on no node: no scheduler has looked at it ($KUBECTL get pods -n kube-system shows whether one runs)"
    elif [[ $container =~ ^(ErrImage|ImagePull|InvalidImage) ]]; then say "$pod: $container (check that the image is there and that nodes may pull it, or name another with --image)"
    elif [ -n "$container" ]; then say "$pod: $container ($KUBECTL logs ${pod#pod } -n $NAMESPACE --previous)"
    elif [ "$phase" = Running ]; then say "$pod runs and is not ready: $(events Pod "${pod#pod }")"
    else say "$pod is $phase: $(events Pod "${pod#pod }")"
    fi
    return
  done <<<"$pods"
  say "its pods are ready, but there are not as many as wanted ($KUBECTL describe deployment $DEPLOYMENT -n $NAMESPACE)"
}

events() { # kind, name
  k get events -n "$NAMESPACE" --field-selector "type=Warning,involvedObject.kind=$1${2:+,involvedObject.name=$2}" \
    -o 'go-template={{range .items}}{{.message}}{{"\n"}}{{end}}' 2>/dev/null | tail -n 1 || true
}

wait_for_operator() {
  if [ -z "$WAIT" ]; then
    say "Not waiting for the operator: $KUBECTL rollout status deployment/$DEPLOYMENT -n $NAMESPACE"
    return
  fi
  say "Waiting for the Deployment $NAMESPACE/$DEPLOYMENT (up to $TIMEOUT)"
  within "$SECONDS_MAX" is_available ||
    die "the Deployment $NAMESPACE/$DEPLOYMENT is not available after $TIMEOUT; $(why_not_available); everything is installed, and it goes on by itself once that is mended"
  say "The operator is available."
}

# --- doing --------------------------------------------------------------------------------------------------------

# kind/name <tab> resourceVersion for each object of a file that exists.
versions() {
  k get -f "$1" --ignore-not-found -o 'go-template={{define "o"}}{{.kind}}/{{.metadata.name}}{{"\t"}}{{.metadata.resourceVersion}}{{"\n"}}{{end}}{{if .items}}{{range .items}}{{template "o" .}}{{end}}{{else}}{{template "o" .}}{{end}}' 2>/dev/null || true
}

# What matters of an object, in one line each, to tell whether a dry run would change it.
FINGERPRINT='{{define "o"}}{{.kind}}/{{.metadata.name}}{{"\t"}}{{printf "%q" (printf "%v %v %v %v %v %v" .spec .rules .roleRef .subjects .metadata.labels .metadata.annotations)}}{{"\n"}}{{end}}{{if .items}}{{range .items}}{{template "o" .}}{{end}}{{else}}{{template "o" .}}{{end}}'

# Two lists as versions() makes them: what is new, what differs, what is the same.
compare() { # before, after, three verbs
  awk -F'\t' -v created="$3" -v changed="$4" -v same="$5" '
    FILENAME == ARGV[1] { before[$1] = $2; next }
    $1 != "" { print "  " $1 ": " ($1 in before ? (before[$1] == $2 ? same : changed) : created) }' "$1" "$2"
}

apply() { # file
  versions "$1" >"$WORK/before"
  # The number of replicas is whoever scales it last: an upgrade keeps it.
  if [ "$OPERATOR" = ours ] && [ -n "$REPLICAS" ]; then
    sed "s/^  replicas: .*/  replicas: $REPLICAS/" "$1" >"$1.kept"
    mv "$1.kept" "$1"
  fi
  k apply --server-side --force-conflicts -f "$1" >"$WORK/applied" 2>"$WORK/errors" ||
    die "not everything could be applied: $(words <"$WORK/errors"); mend that and run this again, it goes on from there"
  versions "$1" >"$WORK/after"
  compare "$WORK/before" "$WORK/after" created changed unchanged
}

# The Deployment last, where the API server could not say before whether it takes its Pods.
apply_all() {
  if [ -z "$ASK_AGAIN" ]; then apply "$WORK/all.yaml"; return; fi
  documents Deployment 0 >"$WORK/but-deployment.yaml"
  documents Deployment 1 >"$WORK/deployment.yaml"
  apply "$WORK/but-deployment.yaml"
  # Some seconds: the API server sees a new account or quota a little later.
  within 10 pod_is_welcome || refuse_pod 'all but the Deployment is installed'
  apply "$WORK/deployment.yaml"
}

would_apply() {
  local all=$WORK/all.yaml
  k get -f "$all" --ignore-not-found -o "go-template=$FINGERPRINT" >"$WORK/before" 2>/dev/null || true
  if [ "$OPERATOR" = ours ]; then sed -i.bak "s/^  replicas: .*/  replicas: $REPLICAS/" "$all"; fi
  if [ -z "$NAMESPACE_PHASE" ] || [ "$OPERATOR" = former ]; then
    # Into a namespace that is not there, or over a Deployment that would be deleted first, the server cannot look.
    k create --dry-run=client -f "$all" -o "go-template=$FINGERPRINT" >"$WORK/after" 2>"$WORK/errors" ||
      die "the manifests would be refused: $(words <"$WORK/errors")"
    awk -F'\t' 'FILENAME == ARGV[1] { there[$1]; next } { print "  " $1 ": would be " ($1 in there ? ($1 ~ /^Deployment/ ? "replaced" : "applied over what is there") : "created") }' "$WORK/before" "$WORK/after"
    return
  fi
  k apply --server-side --force-conflicts --dry-run=server -f "$all" -o "go-template=$FINGERPRINT" >"$WORK/after" 2>"$WORK/errors" ||
    die "not everything would be taken: $(words <"$WORK/errors")"
  compare "$WORK/before" "$WORK/after" "would be created" "would be changed" "would stay as it is"
}

# Scales a Deployment to 0, waits for its pods, deletes it: two operators never write side by side.
remove_deployment() { # what to call it
  local selector
  selector=$(k get deployment "$DEPLOYMENT" -n "$NAMESPACE" -o 'go-template={{range $k, $v := .spec.selector.matchLabels}}{{$k}}={{$v}},{{end}}') ||
    die "the Deployment $NAMESPACE/$DEPLOYMENT went away meanwhile: run this again"
  stop_deployment "${selector%,}"
  k delete deployment "$DEPLOYMENT" -n "$NAMESPACE" --ignore-not-found --timeout="${SECONDS_MAX}s" >/dev/null ||
    die "the Deployment $NAMESPACE/$DEPLOYMENT could not be deleted: delete it by hand and run this again"
  say "  Deployment/$DEPLOYMENT: $1"
}

stop_deployment() { # selector
  k scale deployment "$DEPLOYMENT" -n "$NAMESPACE" --replicas=0 >/dev/null ||
    die "the Deployment $NAMESPACE/$DEPLOYMENT could not be scaled to 0: see $KUBECTL describe deployment $DEPLOYMENT -n $NAMESPACE"
  within "$SECONDS_MAX" no_pods "$1" ||
    die "pods of the Deployment $NAMESPACE/$DEPLOYMENT still run after $TIMEOUT: end them ($KUBECTL delete pods -n $NAMESPACE -l $1 --force), then run this again"
}

replace_former() {
  [ "$OPERATOR" = former ] || return 0
  say "Replacing the former operator"
  remove_deployment "scaled to 0, its pods are gone, deleted (its selector cannot be changed)"
  if [ -n "$(k delete lease "$SEED_LEASE" -n "$NAMESPACE" --ignore-not-found 2>/dev/null)" ]; then
    say "  Lease/$SEED_LEASE: deleted"
  fi
}

# The syncs that wait for someone to take their finalizer off, a line each.
hanging() { # definitions...
  local crd
  for crd in "$@"; do
    k get "$crd" --all-namespaces -o "go-template={{range .items}}{{if .metadata.deletionTimestamp}}$OBJECT"'{{with .status}}{{with .message}}: {{.}}{{end}}{{end}}{{"\n"}}{{end}}{{end}}' 2>/dev/null || true
  done
}

# Copies of these kinds become ordinary ConfigMaps, then the syncs go at once. No operator may run: it would take the copies along.
release_copies() { # definitions...
  say "Taking our marks off the copies"
  local mark annotations='' labels='' crd selector number=0
  for mark in sync source at at-namespace adopted source-hash last-sync; do annotations="$annotations $MARK/$mark-"; done
  for mark in sync-name sync-namespace cluster-sync-name managed-by; do labels="$labels $MARK/$mark-"; done
  for crd in "$@"; do
    selector=$MARK/managed-by=configmapsync-controller
    # Copies of the other kind may have to stay the operator's.
    if [ "$crd" = "$CLUSTER_CRD" ]; then selector=$selector,$MARK/cluster-sync-name; else selector=$selector,'!'$MARK/cluster-sync-name; fi
    if nothing configmaps --all-namespaces -l "$selector"; then continue; fi
    # shellcheck disable=SC2086 # one word each
    k annotate configmaps --all-namespaces -l "$selector" $annotations >"$WORK/released" 2>"$WORK/errors" &&
      k label configmaps --all-namespaces -l "$selector" $labels >"$WORK/released" 2>"$WORK/errors" ||
      die "not all copies could be released: $(words <"$WORK/errors"); run this again"
    number=$((number + $(grep -c '^configmap/' "$WORK/released" || true)))
  done
  [ "$number" -eq 0 ] || say "  $number copies are ordinary ConfigMaps now"
  say "Releasing what they were made for"
  local kind name namespace
  : >"$WORK/all-names"
  for crd in "$@"; do
    list_objects "$crd" >"$WORK/names" 2>"$WORK/errors" || die "the objects of $crd could not be listed: $(words <"$WORK/errors")"
    while read -r kind name; do
      namespace=''
      case $name in */*) namespace=${name%/*} ;; esac
      k patch "$crd" "${name#*/}" ${namespace:+-n "$namespace"} --type=merge -p '{"metadata":{"finalizers":null}}' >/dev/null 2>"$WORK/errors" </dev/null ||
        grep -q NotFound "$WORK/errors" || die "the $kind $name could not be released: $(words <"$WORK/errors")"
    done <"$WORK/names"
    cat "$WORK/names" >>"$WORK/all-names"
  done
  say "  $(in_words <"$WORK/all-names") are released"
}

install_over_going() {
  local waiting number crd going="the definition$GOING is being deleted and waits for" gone="The definition is gone; installing it anew"
  case $GOING in
    ' '*' '*)
      crd=${GOING# }
      going="the definitions ${crd/ / and } are being deleted and wait for" gone="The definitions are gone; installing them anew" ;;
  esac
  # shellcheck disable=SC2086 # one word each, here and below
  waiting=$(hanging $GOING)
  number=$(in_words <<<"$waiting")
  if [ -n "$FINISH" ]; then
    confirm "$number go with their copies (those with deletionPolicy Orphan stay), then everything is installed anew"
    [ -z "$DRY" ] || { say "Would start the operator, wait until nothing is being deleted, then install."; exit 0; }
    replace_former
    # Scaled to 0 it would end nothing: then as many as are shipped.
    if [ "$REPLICAS" = 0 ]; then REPLICAS=''; fi
    say "Starting the operator, which ends the deletion"
    # With the other definition, without which it would not work.
    without $GOING >"$WORK/but-going.yaml"
    apply "$WORK/but-going.yaml"
    for crd in $GOING; do
      say "Waiting until the definition $crd is gone (up to $TIMEOUT)"
      within "$SECONDS_MAX" crd_is_gone "$crd" ||
        die "the definition $crd still waits for $(hanging "$crd" | in_words) after $TIMEOUT ($(hanging "$crd" | head -n 1)); $(why_not_available); mend that and run this again, or leave the copies where they are with --keep-copies"
    done
  elif [ -n "$COPIES" ]; then
    confirm "$number go at once and their copies stay as ordinary ConfigMaps, then everything is installed anew"
    [ -z "$DRY" ] || { say "Would take the marks off the copies and the finalizers off the syncs, then install."; exit 0; }
    replace_former
    [ "$OPERATOR" != ours ] || remove_deployment "stopped and deleted, so that no copy is taken along"
    OPERATOR=none
    release_copies $GOING
    for crd in $GOING; do
      within "$SECONDS_MAX" crd_is_gone "$crd" || die "the definition $crd is not gone after $TIMEOUT: $KUBECTL get crd $crd -o yaml tells what it waits for"
    done
  else
    printf '%s\n' "$waiting" | shorten >&2
    die "$going $number (above): run this again with --finish-deletion (the operator ends it, copies go as their policies say) or with --keep-copies (copies stay as ordinary ConfigMaps)"
  fi
  say "$gone"
}

run_install() {
  fetch_manifests
  preflight_rights create patch
  preflight_namespace
  preflight_operator
  preflight_elsewhere
  look_at_crds
  case $OPERATOR in
    none) say "Operator: none runs in $NAMESPACE" ;;
    ours) say "Operator: $OPERATOR_IMAGE, $REPLICAS replicas (kept)" ;;
    former) say "Operator: a former one, $OPERATOR_IMAGE; it is stopped and replaced" ;;
  esac
  preflight_pods
  preflight_openshift
  preflight_proxy
  preflight_network
  preflight_monitoring
  if [ -n "$GOING" ]; then
    install_over_going
  else
    [ -z "$FINISH$COPIES" ] || say "No definition is being deleted: nothing to finish."
    preflight_syncs
    [ "$CHANGES" -eq 0 ] || confirm "$CHANGES copies will be overwritten with what their source holds now"
  fi
  if [ -n "$DRY" ]; then
    [ $OPERATOR != former ] || say "Would scale Deployment/$DEPLOYMENT to 0, wait for its pods and delete it, with Lease/$SEED_LEASE."
    say "Would apply:"
    would_apply
    say "Nothing was changed."
    return
  fi
  replace_former
  say "Applying"
  apply_all
  local crd
  for crd in $CRDS; do
    # --manifests may name those of a version of before the second kind.
    grep -q "^  name: $crd\$" "$WORK/all.yaml" || continue
    within 60 is_established "$crd" || die "the definition $crd is not Established after 60 s: $KUBECTL describe crd $crd tells why"
    say "The definition $crd is established."
  done
  wait_for_operator
  say "Installed. Try: $KUBECTL apply -f deploy/samples/ && $KUBECTL get configmapsyncs --all-namespaces"
}

run_uninstall() {
  fetch_manifests
  preflight_rights get delete
  preflight_operator
  look_at_crds
  local number
  # shellcheck disable=SC2086 # one word each
  list_objects $EXISTING >"$WORK/objects" 2>"$WORK/errors" || die "what is to be deleted could not be listed: $(words <"$WORK/errors")"
  number=$(in_words <"$WORK/objects")
  if [ "$KEEP" != syncs ]; then
    local fate="their copies (those with deletionPolicy Orphan stay)"
    [ -z "$COPIES" ] || fate="their definitions; their copies stay as ordinary ConfigMaps"
    [ ! -s "$WORK/objects" ] || confirm "$number are deleted with $fate"
  fi
  if [ -n "$DRY" ]; then
    [ "$KEEP" = syncs ] || say "Would delete $number, then their definitions ($(sed 's/ /, /' <<<"$CRDS"))."
    [ "$KEEP" = operator ] || { say "Would delete:"; versions "$WORK/rest.yaml" | cut -f1 | sed 's/^/  /'; }
    say "Nothing was changed."
    return
  fi
  if [ "$KEEP" != syncs ]; then remove_syncs; fi
  if [ "$KEEP" != operator ]; then remove_operator; fi
  if [ "$KEEP" = syncs ]; then
    say "The operator is removed. $number and their copies are left as they are; syncs that you delete now wait for an operator, by their finalizer."
  else
    say "Uninstalled."
  fi
}

remove_syncs() {
  local crd
  for crd in $CRDS; do exists "$crd" || say "$crd is not installed."; done
  [ -n "$EXISTING" ] || return 0
  # shellcheck disable=SC2086 # one word each, here and below
  if [ -n "$COPIES" ]; then
    [ "$OPERATOR" = none ] || remove_deployment "stopped and deleted, so that no copy is taken along"
    release_copies $EXISTING
  fi
  say "Deleting what the operator works for"
  for crd in $EXISTING; do
    k delete "$crd" --all --all-namespaces --wait=false >/dev/null || die "not all $crd could be deleted: $KUBECTL get $crd --all-namespaces shows them"
  done
  # shellcheck disable=SC2086
  if ! within "$SECONDS_MAX" no_objects $EXISTING; then
    local waiting
    waiting=$(hanging $EXISTING)
    shorten <<<"$waiting" >&2
    die "$(in_words <<<"$waiting") (above) still wait for their copies to be cleaned up after $TIMEOUT, which only a running operator does ($KUBECTL get pods -n $NAMESPACE): start it and run this again, or leave the copies where they are with --uninstall --keep-copies"
  fi
  for crd in $EXISTING; do
    k delete crd "$crd" --ignore-not-found --timeout="${SECONDS_MAX}s" >/dev/null || die "the definition $crd could not be deleted: $KUBECTL get crd $crd -o yaml tells what it waits for"
    say "  CustomResourceDefinition/$crd: deleted"
  done
}

# What stands in the namespace and is not ours: it must not go with it.
others_in_namespace() {
  if k get configmaps,secrets,services,deployments,statefulsets,daemonsets,persistentvolumeclaims -n "$NAMESPACE" \
    -o 'go-template={{range .items}}{{.kind}}/{{.metadata.name}}{{"\n"}}{{end}}' >"$WORK/there" 2>"$WORK/errors"; then
    grep -v -x -e 'ConfigMap/kube-root-ca.crt' -e "Deployment/$DEPLOYMENT" "$WORK/there" || true
  else
    say "(what could not be listed: $(words <"$WORK/errors"))"
  fi
  [ "$(crd_state "$CRD")" = absent ] || k get "$CRD" -n "$NAMESPACE" -o name 2>"$WORK/errors" || say "(ConfigMapSyncs, which could not be listed)"
}

remove_operator() {
  say "Removing the operator"
  versions "$WORK/rest.yaml" >"$WORK/before"
  local deployment_others
  deployment_others=$(others_in_namespace)
  # First of all the operator itself, with time to give its shards back; then what it stands on.
  if [ -n "$(k get deployment "$DEPLOYMENT" -n "$NAMESPACE" --ignore-not-found -o name)" ]; then
    remove_deployment "stopped and deleted"
  fi
  awk 'function flush() { if (text != "" && !skip) printf "---\n%s", text; text = ""; skip = 0 }
    /^---/ { flush(); next } /^kind: Namespace$/ { skip = 1 } { text = text $0 "\n" } END { flush() }' "$WORK/rest.yaml" >"$WORK/but-namespace.yaml"
  k delete -f "$WORK/but-namespace.yaml" --ignore-not-found --timeout="${SECONDS_MAX}s" >/dev/null 2>"$WORK/errors" ||
    die "not everything could be deleted: $(words <"$WORK/errors"); mend that and run this again"
  sed -n "s/	.*/: deleted/p" "$WORK/before" | grep -v -e '^Namespace/' -e '^Deployment/' | sed 's/^/  /' || true
  if ! grep -q '^Namespace/' "$WORK/before"; then return; fi
  if [ -n "$deployment_others" ]; then
    local leases
    leases=$(k get leases -n "$NAMESPACE" -o name 2>/dev/null | grep '/configmapsync-' || true)
    # shellcheck disable=SC2086 # one word each
    [ -z "$leases" ] || k delete -n "$NAMESPACE" $leases --ignore-not-found --wait=false >/dev/null || true
    say "  Namespace/$NAMESPACE: kept, since it holds what is not ours:"
    shorten <<<"$deployment_others" | sed 's/^/  /'
    return
  fi
  k delete namespace "$NAMESPACE" --ignore-not-found --timeout="${SECONDS_MAX}s" >/dev/null ||
    die "the namespace $NAMESPACE is not gone after $TIMEOUT: $KUBECTL get namespace $NAMESPACE -o yaml tells what it waits for"
  say "  Namespace/$NAMESPACE: deleted"
}

main() {
  arguments "$@"
  preflight_cluster
  "run_$TODO"
}

main "$@"
