#!/bin/sh
# Make images with the tools of this machine (x86-64, root): images.sh DIRECTORY
#
# Debian packages: docker.io (Debian 13: docker-cli too), skopeo, buildah, podman, umoci, gcc, libcap2-bin.
# Every tool stores the same two layers: a program, a file, links, a file capability; then one file is removed.
#
# images.tar.xz has what Debian 12 and 13 wrote on 29 November 2026, and crane's files of the same image:
# crane push docker-save.tar REGISTRY/corpus:1; crane pull --format tarball, legacy and oci.
# tar --sort=name --owner=0 --group=0 --mtime=@0 -cJf images.tar.xz debian12 debian13 crane
set -eu
out=$1
work=$(mktemp -d)
trap 'umount "$work/docker" 2>/dev/null; rm -rf "$work"' EXIT
mkdir -p "$out" "$work/context" "$work/root/bin" "$work/root/etc" "$work/run" "$work/tmp"
export TMPDIR="$work/tmp" XDG_RUNTIME_DIR="$work/run" DOCKER_BUILDKIT=0
export HOME="$work" STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot

# A program without a library: it removes the file of its first argument.
cat > "$work/app.c" << 'C'
static long call(long n, long a) {
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a) : "rcx", "r11", "memory");
    return r;
}
__attribute__((force_align_arg_pointer, noreturn)) void start(long *stack) {
    call(60, stack[0] > 1 ? call(87, stack[2]) != 0 : 0);
    __builtin_unreachable();
}
__asm__(".globl _start\n_start: mov %rsp, %rdi\n call start\n");
C
gcc -Os -static -nostdlib -fno-asynchronous-unwind-tables -Wl,--build-id=none -Wl,-z,noseparate-code -s -o "$work/root/bin/app" "$work/app.c"
printf 'ID=corpus\n' > "$work/root/etc/os-release"
printf 'old\n' > "$work/root/etc/old"
mkdir -p "$work/root/usr/share/größe" "$work/root/empty" "$work/root/srv"
chmod 1777 "$work/root/srv"
head -c 5000 /dev/zero | tr '\0' x > "$work/root/usr/share/größe/x"
ln "$work/root/bin/app" "$work/root/bin/hard"
ln -s app "$work/root/bin/soft"
cp "$work/root/bin/app" "$work/root/bin/ping"
setcap cap_net_raw,cap_setuid+ep "$work/root/bin/ping"
chown 1000:1000 "$work/root/usr/share/größe/x"
tar -C "$work/root" --xattrs --xattrs-include='*' --sort=name -cf "$work/context/root.tar" .
cat > "$work/context/Containerfile" << 'C'
FROM scratch
ADD root.tar /
RUN ["/bin/app", "/etc/old"]
ENV GREETING="good morning" PATH=/bin
USER 1000:1000
WORKDIR /srv
LABEL org.opencontainers.image.version=1
EXPOSE 8080/tcp
ENTRYPOINT ["/bin/app"]
CMD []
C
cp "$work/context/Containerfile" "$work/context/Dockerfile"

docker_engine() {
    export DOCKER_HOST="unix://$work/docker.sock"
    dockerd --host "$DOCKER_HOST" --data-root "$work/docker" --exec-root "$work/exec" \
        --pidfile "$work/pid" --storage-driver=vfs --iptables=false --bridge=none \
        > "$work/dockerd.log" 2>&1 &
    engine=$!
    for _ in $(seq 100); do
        docker version > /dev/null 2>&1 && break
        sleep 0.3
    done
    docker build -q --network none -t corpus:1 "$work/context"
    docker tag corpus:1 registry.example.org/corpus:two
    docker save -o "$out/docker-save.tar" corpus:1
    docker save -o "$out/docker-save-two-tags.tar" corpus:1 registry.example.org/corpus:two
    docker save -o "$out/docker-save-by-id.tar" "$(docker images -q corpus:1 | head -n 1)"
    docker save corpus:1 | gzip -n > "$out/docker-save.tar.gz"
    docker create --name box corpus:1 > /dev/null
    docker export -o "$out/docker-export.tar" box
    docker commit box corpus:committed > /dev/null
    docker save -o "$out/docker-commit.tar" corpus:committed
    skopeo copy -q --src-daemon-host "$DOCKER_HOST" docker-daemon:corpus:1 "oci:$out/skopeo-from-docker:1"
    kill "$engine"
    wait "$engine" || :
}

buildah_and_podman() {
    storage="--root $work/storage --runroot $work/run --storage-driver vfs"
    buildah $storage build -q --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --network none -t localhost/corpus:1 "$work/context"
    buildah $storage build -q --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --layers --network none -t localhost/corpus:layers "$work/context"
    buildah $storage push -q localhost/corpus:1 "oci:$out/buildah-oci:1"
    buildah $storage push -q localhost/corpus:layers "oci-archive:$out/buildah-layers.tar:layers"
    buildah $storage push -q localhost/corpus:1 "docker-archive:$out/buildah-docker.tar:localhost/corpus:1"
    buildah $storage push -q --format v2s2 localhost/corpus:1 "oci-archive:$out/buildah-v2s2.tar"
    buildah $storage manifest create corpus:list localhost/corpus:1 > /dev/null
    buildah $storage manifest push -q --all corpus:list "oci:$out/buildah-index:list"
    podman $storage save -q -o "$out/podman-save.tar" localhost/corpus:1
    podman $storage save -q --format oci-archive -o "$out/podman-oci-archive.tar" localhost/corpus:1
    podman $storage save -q --format oci-dir -o "$out/podman-oci-dir" localhost/corpus:1
    podman $storage save -q -m -o "$out/podman-several.tar" localhost/corpus:1 localhost/corpus:layers
}

skopeo_and_umoci() {
    skopeo copy -q "oci:$out/buildah-oci:1" "oci-archive:$out/skopeo-oci-archive.tar:corpus:1"
    skopeo copy -q "oci:$out/buildah-oci:1" "docker-archive:$out/skopeo-docker-archive.tar:corpus:1"
    skopeo copy -q --dest-compress-format zstd "oci:$out/buildah-oci:1" "oci:$out/skopeo-zstd:1"
    skopeo copy -q --dest-compress-format zstd:chunked "oci:$out/buildah-oci:1" "oci:$out/skopeo-zstd-chunked:1"
    skopeo copy -q "oci:$out/buildah-oci:1" "dir:$out/skopeo-dir"
    cp -r "$out/buildah-oci" "$out/umoci"
    umoci unpack --image "$out/umoci:1" "$work/bundle" > /dev/null 2>&1
    rm "$work/bundle/rootfs/bin/hard"
    echo new > "$work/bundle/rootfs/etc/new"
    umoci repack --image "$out/umoci:2" "$work/bundle" > /dev/null 2>&1
    umoci config --image "$out/umoci:2" --config.user 0 --tag 3
}

docker_engine
buildah_and_podman
skopeo_and_umoci
