#!/usr/bin/env bash
# Downloads kind, kubectl and helm for Linux, in the versions that the smoke run is written for.
#
#   tests/kind/tools.sh FOLDER
set -euo pipefail

KIND_VERSION=v0.32.0
KUBECTL_VERSION=v1.36.1 # that of the node in cluster.yaml
HELM_VERSION=v3.17.3
case $(uname -m) in x86_64) machine=amd64 ;; aarch64) machine=arm64 ;; *) echo "error: no tools for $(uname -m)" >&2 && exit 2 ;; esac

into=${1:?name a folder}
mkdir -p "$into"
into=$(cd "$into" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
get() { curl --fail --silent --show-error --location --retry 3 --output "$1" "$2"; }
checked() { echo "$(cut -d ' ' -f 1 "$1.sha256")  $1" | sha256sum --check --quiet; }

get kind "https://github.com/kubernetes-sigs/kind/releases/download/$KIND_VERSION/kind-linux-$machine"
get kind.sha256 "https://github.com/kubernetes-sigs/kind/releases/download/$KIND_VERSION/kind-linux-$machine.sha256sum"
get kubectl "https://dl.k8s.io/release/$KUBECTL_VERSION/bin/linux/$machine/kubectl"
get kubectl.sha256 "https://dl.k8s.io/release/$KUBECTL_VERSION/bin/linux/$machine/kubectl.sha256"
get helm.tar.gz "https://get.helm.sh/helm-$HELM_VERSION-linux-$machine.tar.gz"
get helm.tar.gz.sha256 "https://get.helm.sh/helm-$HELM_VERSION-linux-$machine.tar.gz.sha256sum"
for file in kind kubectl helm.tar.gz; do checked "$file"; done
tar -xzf helm.tar.gz --strip-components 1 "linux-$machine/helm"
install -m 755 kind kubectl helm "$into"
