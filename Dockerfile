# Two images: `cli` is the client, for a laptop or CI; `host` is an SSH host to try `gpujob --on ssh://` with.
# `make image` builds both with docker or buildah, and passes this machine's pip configuration to the build.
#
#   docker run --rm -v "$PWD:/work" gpujob:cli status
#   docker run --rm -it -h NAME -v "$PWD:/work" -v gpujob:/home/gpujob -e AWS_PROFILE gpujob:cli deploy JOB --on ec2
#     the volume keeps the SSH key of the instances, host keys and records; instances are tagged with NAME
#   docker run -p 127.0.0.1:2222:22 -v ~/.ssh/id_ed25519.pub:/etc/gpujob/authorized_keys:ro gpujob:host
#   ssh -p 2222 gpujob@127.0.0.1
#
# For a GPU: HOST_BASE=<an image with CUDA and torch>, whose torch is kept. For a CUDA image without torch, also set
# CONSTRAINTS=/dev/null, because constraints.txt requires the CPU build.
ARG BASE=python:3.11-slim-bookworm
ARG HOST_BASE=${BASE}

# pip.conf, certificates and local wheels of the building machine: empty by default, replaced with
# `--build-context pip=FOLDER`. It is mounted while pip runs and is not part of an image.
FROM scratch AS pip

FROM ${BASE} AS build
ARG PIP_CONFIG_FILE=/run/pip/pip.conf
WORKDIR /src
COPY . .
RUN --mount=type=bind,from=pip,target=/run/pip \
    python3 -m venv --without-pip /opt/venv \
 && python3 -m pip --python /opt/venv/bin/python install --no-cache-dir .

FROM ${BASE} AS cli
# hadolint ignore=DL3008  # a pinned Debian package disappears with the next security update
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates git openssh-client rsync tmux \
 && rm -rf /var/lib/apt/lists/* \
 && git config --system safe.directory /work \
 && useradd --uid 1000 --create-home --shell /bin/bash gpujob \
 && install -d -o gpujob -g gpujob /work
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH LANG=C.UTF-8
USER 1000
WORKDIR /work
ENTRYPOINT ["gpujob"]
CMD ["--help"]

# The trainers' dependencies, read with a Python that has tomllib: a HOST_BASE may have 3.10.
FROM ${BASE} AS requirements
COPY pyproject.toml /
RUN python3 -c 'import tomllib; \
extras = tomllib.load(open("/pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
print("\n".join(extras["train"]))' > /train.txt

FROM ${HOST_BASE} AS host
# The host keys that the package creates are deleted in the same layer: a key in an image is public.
# hadolint ignore=DL3008  # as above
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      ca-certificates openssh-client openssh-server rsync tmux \
 && { python3 -c 'import venv, ensurepip' 2>/dev/null \
      || DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-venv; } \
 && rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_* \
 && useradd --create-home --shell /bin/bash --password '*' gpujob

# A virtual environment over the interpreter of the base. If the base has torch, its version is kept.
WORKDIR /opt/venv
ARG PIP_CONFIG_FILE=/run/pip/pip.conf
ARG CONSTRAINTS=/opt/venv/constraints.txt
ARG TORCH_CPU_INDEX=
COPY constraints.txt /opt/venv/
COPY --from=requirements /train.txt /opt/venv/
RUN --mount=type=bind,from=pip,target=/run/pip \
    python3 -m venv --system-site-packages . \
 && if torch=$(python3 -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null); \
    then echo "torch==$torch" > base.txt; else cp "$CONSTRAINTS" base.txt; fi \
 && { bin/pip install --no-cache-dir -c base.txt -r train.txt \
      || { [ -n "$TORCH_CPU_INDEX" ] \
           && bin/pip install --no-cache-dir -c base.txt -r train.txt --extra-index-url "$TORCH_CPU_INDEX"; }; }
ENV PATH=/opt/venv/bin:$PATH LANG=C.UTF-8

# Only key login, of one user. Without PAM, which needs more capabilities than a container has.
# The start script copies the mounted key to a file owned by root, because sshd refuses one owned by another user, and
# passes the image's environment on to sessions, which sshd does not.
# hadolint ignore=SC2016  # the variables are expanded by the script
RUN printf '%s\n' \
      'HostKey /etc/ssh/host/ed25519' \
      'AllowUsers gpujob' \
      'PermitRootLogin no' \
      'AuthenticationMethods publickey' \
      'PasswordAuthentication no' \
      'KbdInteractiveAuthentication no' \
      'AuthorizedKeysFile /etc/ssh/authorized_keys' \
      'UsePAM no' \
      'X11Forwarding no' \
      'PrintMotd no' \
      'Subsystem sftp internal-sftp' > /etc/ssh/sshd_config \
 && echo 'PATH=/opt/venv/bin:$PATH' > /etc/profile.d/gpujob.sh \
 && printf '%s\n' \
      '#!/bin/sh' \
      'set -eu' \
      'keys=/etc/gpujob/authorized_keys' \
      'if ! [ -f "$keys" ]; then' \
      '  echo "error: no key; add: -v ~/.ssh/id_ed25519.pub:$keys:ro" >&2' \
      '  exit 2' \
      'fi' \
      'install -m 644 "$keys" /etc/ssh/authorized_keys' \
      'mkdir -p /run/sshd /etc/ssh/host' \
      'host=/etc/ssh/host/ed25519' \
      '[ -s "$host" ] || ssh-keygen -q -t ed25519 -N "" -C "" -f "$host"' \
      'echo "host key: $(ssh-keygen -lf "$host.pub")"' \
      'env=' \
      'for name in PATH LANG LD_LIBRARY_PATH CUDA_VISIBLE_DEVICES; do' \
      '  if value=$(printenv "$name"); then env="$env $name=$value"; fi' \
      'done' \
      'exec /usr/sbin/sshd -D -e -o "SetEnv=${env# }" "$@"' > /usr/local/sbin/start \
 && chmod 755 /usr/local/sbin/start
WORKDIR /
EXPOSE 22
ENTRYPOINT ["/usr/local/sbin/start"]
