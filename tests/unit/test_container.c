/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Containers and pods by cgroup path, in every layout that is known; their names; what lies behind their paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "container_state.h"

#define ID "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0"
#define NODE "aaaaaaaabbbbbbbbccccccccddddddddaaaaaaaabbbbbbbbccccccccdddddddd"
#define UID "5a4f9a0c-3f1e-4d61-9f0e-0c1d2e3f4a5b"
#define UID_ "5a4f9a0c_3f1e_4d61_9f0e_0c1d2e3f4a5b"
#define OUTER "11111111-2222-3333-4444-555555555555"
#define HASH "b1946ac92492d2347c6235b4d2611184"

struct layout {
	const char *path;
	enum container_runtime runtime;
	const char *id, *uid; /* NULL: none */
	bool hash;
};

/* clang-format off */
static const struct layout layouts[] = {
	/* the kubelet's systemd driver: containerd, CRI-O, cri-dockerd, in three classes */
	{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UID_ ".slice/cri-containerd-" ID ".scope", RUNTIME_CONTAINERD, ID, UID, false},
	{"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" UID_ ".slice/cri-containerd-" ID ".scope", RUNTIME_CONTAINERD, ID, UID, false},
	{"/kubepods.slice/kubepods-pod" UID_ ".slice/cri-containerd-" ID ".scope", RUNTIME_CONTAINERD, ID, UID, false},
	{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UID_ ".slice/crio-" ID ".scope", RUNTIME_CRIO, ID, UID, false},
	{"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" UID_ ".slice/crio-" ID ".scope/container", RUNTIME_CRIO, ID, UID, false},
	{"/kubepods.slice/kubepods-pod" UID_ ".slice/docker-" ID ".scope", RUNTIME_DOCKER, ID, UID, false},
	/* its cgroupfs driver names no runtime, but for CRI-O */
	{"/kubepods/burstable/pod" UID "/" ID, RUNTIME_UNKNOWN, ID, UID, false},
	{"/kubepods/besteffort/pod" UID "/" ID, RUNTIME_UNKNOWN, ID, UID, false},
	{"/kubepods/pod" UID "/" ID, RUNTIME_UNKNOWN, ID, UID, false},
	{"/kubepods/besteffort/pod" UID "/crio-" ID, RUNTIME_CRIO, ID, UID, false},
	{"/kubepods/pod" UID "/crio-" ID "/container", RUNTIME_CRIO, ID, UID, false},
	/* the one's path with the other's runtime */
	{"/system.slice/containerd.service/kubepods-burstable-pod" UID_ ".slice:cri-containerd:" ID, RUNTIME_CONTAINERD, ID, UID, false},
	{"/system.slice/containerd.service/kubepods-pod" UID_ ".slice:cri-containerd:" ID, RUNTIME_CONTAINERD, ID, UID, false},
	{"/kubepods-besteffort-pod" UID_ ".slice:crio:" ID, RUNTIME_CRIO, ID, UID, false},
	{"/system.slice:docker:" ID, RUNTIME_DOCKER, ID, NULL, false},
	/* the pod's own cgroup */
	{"/kubepods.slice/kubepods-pod" UID_ ".slice", RUNTIME_UNKNOWN, NULL, UID, false},
	{"/kubepods/besteffort/pod" UID, RUNTIME_UNKNOWN, NULL, UID, false},
	{"/kubepods/besteffort/pod" UID "/", RUNTIME_UNKNOWN, NULL, UID, false},
	/* static pods */
	{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" HASH ".slice/cri-containerd-" ID ".scope", RUNTIME_CONTAINERD, ID, HASH, true},
	{"/kubepods/burstable/pod" HASH "/" ID, RUNTIME_UNKNOWN, ID, HASH, true},
	{"/kubepods.slice/kubepods-pod" HASH ".slice/crio-" ID ".scope", RUNTIME_CRIO, ID, HASH, true},
	/* docker, podman, nerdctl */
	{"/docker/" ID, RUNTIME_DOCKER, ID, NULL, false},
	{"/system.slice/docker-" ID ".scope", RUNTIME_DOCKER, ID, NULL, false},
	{"/agents.slice/" ID, RUNTIME_UNKNOWN, ID, NULL, false},
	{"/machine.slice/libpod-" ID ".scope", RUNTIME_PODMAN, ID, NULL, false},
	{"/machine.slice/libpod-" ID ".scope/container", RUNTIME_PODMAN, ID, NULL, false},
	{"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" ID ".scope/container", RUNTIME_PODMAN, ID, NULL, false},
	{"/libpod_parent/libpod-" ID, RUNTIME_PODMAN, ID, NULL, false},
	{"/libpod_parent/" NODE "/libpod-" ID, RUNTIME_PODMAN, ID, NULL, false},
	{"/machine.slice/machine-libpod_pod_" NODE ".slice/libpod-" ID ".scope", RUNTIME_PODMAN, ID, NULL, false},
	{"/machine.slice/libpod-payload-" ID, RUNTIME_PODMAN, ID, NULL, false},
	{"/system.slice/nerdctl-" ID ".scope", RUNTIME_CONTAINERD, ID, NULL, false},
	{"/k8s.io/" ID, RUNTIME_UNKNOWN, ID, NULL, false},
	/* kind, k3d, minikube: the node is a container; what runs beside its pods is in the node alone */
	{"/docker/" NODE "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod" UID_ ".slice/cri-containerd-" ID ".scope", RUNTIME_CONTAINERD, ID, UID, false},
	{"/system.slice/docker-" NODE ".scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" UID_ ".slice/cri-containerd-" ID ".scope", RUNTIME_CONTAINERD, ID, UID, false},
	{"/system.slice/docker-" NODE ".scope/kubelet/kubepods/burstable/pod" UID "/" ID, RUNTIME_UNKNOWN, ID, UID, false},
	{"/docker/" NODE "/kubelet.slice/kubelet.service", RUNTIME_DOCKER, NODE, NULL, false},
	{"/system.slice/docker-" NODE ".scope/system.slice/containerd.service", RUNTIME_DOCKER, NODE, NULL, false},
	/* a node in a pod of another cluster: the pod that is nearest counts */
	{"/kubepods/pod" OUTER "/" NODE "/kubelet/kubepods/pod" UID "/" ID, RUNTIME_UNKNOWN, ID, UID, false},
	/* what runs in a container: its own systemd, its own docker */
	{"/kubepods/burstable/pod" UID "/" ID "/init.scope", RUNTIME_UNKNOWN, ID, UID, false},
	{"/kubepods/burstable/pod" UID "/" ID "/docker/" NODE, RUNTIME_UNKNOWN, ID, UID, false},
	{"/kubepods.slice/kubepods-pod" UID_ ".slice/cri-containerd-" ID ".scope/system.slice/docker-" NODE ".scope", RUNTIME_CONTAINERD, ID, UID, false},
	{"/docker/" ID "/docker/" NODE, RUNTIME_DOCKER, ID, NULL, false},
	{"/docker/" ID "/system.slice/cron.service", RUNTIME_DOCKER, ID, NULL, false},
	/* a reader in a cgroup namespace of its own */
	{"/../../kubepods-burstable-pod" UID_ ".slice/cri-containerd-" ID ".scope", RUNTIME_CONTAINERD, ID, UID, false},
};

static const char *const others[] = {
	"", "/", "/init.scope", "/user.slice/user-1000.slice/session-3.scope", "/system.slice/containerd.service",
	"/kubepods.slice", "/kubepods.slice/kubepods-burstable.slice", "/kubepods/burstable",
	/* monitors of containers */
	"/kubepods.slice/kubepods-pod" UID_ ".slice/crio-conmon-" ID ".scope", "/machine.slice/libpod-conmon-" ID ".scope",
	"/system.slice/crio-conmon-" ID ".scope",
	/* almost */
	"/docker/0f1e2d3c", "/docker/" ID "0", "/docker/0F1E2D3C4B5A69788796A5B4C3D2E1F00F1E2D3C4B5A69788796A5B4C3D2E1F0",
	"/home/pod" UID "/x", "/kubepods/burstable/pod5a4f9a0c-3f1e-4d61-9f0e-0c1d2e3f4a5", "/kubepods/podx",
	"/kubepods.slice/kubepods-burstable-podXX.slice", "/my-pod" UID_ ".slice", "/system.slice/docker.service",
	"/libpod_parent/" NODE, "/machine.slice/machine-libpod_pod_" NODE ".slice", "/process_api/5887034a68cf4a09d2fb327f01f63932",
};
/* clang-format on */

static void expect_place(const struct container_place *place, const struct layout *layout)
{
	assert_int_equal(place->runtime, layout->runtime);
	assert_string_equal(place->id, layout->id ? layout->id : "");
	assert_string_equal(place->pod_uid, layout->uid ? layout->uid : "");
	assert_int_equal(place->pod_static, layout->hash);
}

static void paths_tell_containers(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(layouts); i++) {
		struct container_place place;

		print_message("%.100s\n", layouts[i].path);
		assert_int_equal(container_of_path(layouts[i].path, strlen(layouts[i].path), &place), 0);
		expect_place(&place, &layouts[i]);
	}
}

static void other_paths_tell_none(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		struct container_place place;

		print_message("%.100s\n", others[i]);
		assert_int_equal(container_of_path(others[i], strlen(others[i]), &place), -ENOENT);
	}
}

/* No beginning of any path, and no byte changed in it, is read past or makes an id of another length. */
static void damaged_paths_are_harmless(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(layouts); i++) {
		size_t length = strlen(layouts[i].path);

		for (size_t cut = 0; cut <= length; cut++) {
			char *copy = malloc(cut ? cut : 1);
			struct container_place place = {};

			memcpy(copy, layouts[i].path, cut);
			if (!container_of_path(copy, cut, &place))
				assert_true(!place.id[0] || strlen(place.id) == 64);
			if (cut)
				copy[cut / 2] = '\0';
			container_of_path(copy, cut, &place);
			free(copy);
		}
	}
}

/* What lies before the nearest pod can be asked for by itself. */
static void the_outer_pod_is_before_the_inner(void **state)
{
	static const char path[] = "/kubepods/pod" OUTER "/" NODE "/kubelet/kubepods/pod" UID "/" ID;
	struct container_place place;

	(void)state;
	assert_int_equal(container_of_path(path, strlen(path), &place), 0);
	assert_int_equal(container_of_path(path, place.pod_at, &place), 0);
	assert_string_equal(place.pod_uid, OUTER);
	assert_string_equal(place.id, NODE);
	assert_int_equal(container_of_path(path, place.pod_at, &place), -ENOENT);
}

static void expect_proc(const char *text, const char *id, bool blind)
{
	struct container_place place = {};
	bool found_blind = !blind;

	assert_int_equal(container_of_proc(text, &place, &found_blind), id ? 0 : -ENOENT);
	if (!id)
		return;
	assert_string_equal(place.id, id);
	assert_int_equal(found_blind, blind);
}

static void hierarchies_of_both_versions(void **state)
{
	(void)state;
	/* pure version 2 */
	expect_proc("0::/docker/" ID "\n", ID, false);
	expect_proc("0::/docker/" ID, ID, false);
	expect_proc("0::/user.slice\n", NULL, false);
	/* hybrid: runc makes the cgroup in both */
	expect_proc("3:pids:/docker/" ID "\n1:name=systemd:/docker/" ID "\n0::/docker/" ID "\n", ID, false);
	/* hybrid, and a runtime that makes those of version 1 only */
	expect_proc("3:pids:/docker/" ID "\n0::/\n", ID, true);
	expect_proc("4:memory:/kubepods/besteffort/pod" UID "/" ID "\n0::/system.slice/containerd.service\n", ID, true);
	/* version 1 alone */
	expect_proc("3:cpu,cpuacct:/docker/" ID "\n", ID, true);
	expect_proc("3:cpu,cpuacct:/user.slice\n0::/\n", NULL, false);
	expect_proc("", NULL, false);
	expect_proc("0:\nx\n::\n", NULL, false);
}

/* ---- files ---- */

struct place_files {
	char root[64];
};

static int make_root(void **state)
{
	struct place_files *files = calloc(1, sizeof(*files));

	strcpy(files->root, "/tmp/reprieve-container-XXXXXX");
	assert_non_null(mkdtemp(files->root));
	*state = files;
	return 0;
}

static int remove_root(void **state)
{
	struct place_files *files = *state;
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", files->root);
	assert_int_equal(system(command), 0);
	free(files);
	return 0;
}

static void write_below(const struct place_files *files, const char *path, const char *text)
{
	char full[512];
	FILE *file;

	snprintf(full, sizeof(full), "%s%s", files->root, path);
	for (char *slash = strchr(full + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(full, 0755);
		*slash = '/';
	}
	file = fopen(full, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static struct container *container_at(const char *path)
{
	struct container *container = NULL;

	assert_int_equal(container_new(path, strlen(path), &container), 0);
	return container;
}

static void containerd_tells_names(void **state)
{
	const struct place_files *files = *state;
	struct container *container = container_at("/kubepods/besteffort/pod" UID "/" ID);

	assert_int_equal(container_read_state(files->root, container), -ENOENT);
	write_below(
		files, "/run/containerd/io.containerd.runtime.v2.task/k8s.io/" ID "/config.json",
		"{\"annotations\":{\"io.kubernetes.cri.container-name\":\"main\",\"io.kubernetes.cri.container-type\":"
		"\"container\",\"io.kubernetes.cri.image-name\":\"busybox:1\",\"io.kubernetes.cri.sandbox-name\":\"a-1\","
		"\"io.kubernetes.cri.sandbox-namespace\":\"agents\",\"io.kubernetes.cri.sandbox-uid\":\"" UID "\"},"
		"\"mounts\":[{\"destination\":\"/proc\",\"source\":\"proc\",\"options\":[\"nosuid\"]},{\"destination\":"
		"\"/work\",\"source\":\"/var/lib/kubelet/pods/x/volumes/kubernetes.io~empty-dir/w\",\"options\":[\"rbind\","
		"\"rw\"]},{\"destination\":\"/tmp\",\"source\":\"/tmp\",\"options\":[]}]}");
	assert_int_equal(container_read_state(files->root, container), 0);
	assert_int_equal(container->place.runtime, RUNTIME_CONTAINERD);
	assert_string_equal(container->name, "main");
	assert_string_equal(container->image, "busybox:1");
	assert_string_equal(container->pod_name, "a-1");
	assert_string_equal(container->pod_namespace, "agents");
	assert_string_equal(container->pod_uid, UID);
	assert_false(container->sandbox);
	assert_int_equal(container->mounts.count, 1);
	assert_string_equal(container->mounts.list[0].point, "/work");
	assert_string_equal(container->mounts.list[0].name, "w");
	container_free(container);
}

static void a_sandbox_is_told(void **state)
{
	const struct place_files *files = *state;
	struct container *container =
		container_at("/kubepods.slice/kubepods-pod" UID_ ".slice/cri-containerd-" ID ".scope");

	write_below(
		files, "/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/" ID "/config.json",
		"{\"annotations\":{\"io.kubernetes.cri.container-type\":\"sandbox\",\"io.kubernetes.cri.sandbox-name\":"
		"\"a-1\"}}");
	assert_int_equal(container_read_state(files->root, container), 0);
	assert_true(container->sandbox);
	assert_null(container->name);
	assert_string_equal(container->pod_name, "a-1");
	container_free(container);
}

static void crio_tells_names(void **state)
{
	const struct place_files *files = *state;
	struct container *container =
		container_at("/kubepods.slice/kubepods-pod" UID_ ".slice/crio-" ID ".scope/container");

	write_below(files, "/run/containers/storage/overlay-containers/" ID "/userdata/config.json",
		    "{\"annotations\":{\"io.kubernetes.container.name\":\"main\",\"io.kubernetes.pod.name\":\"a-1\","
		    "\"io.kubernetes.pod.namespace\":\"agents\",\"io.kubernetes.pod.uid\":\"" UID "\","
		    "\"io.kubernetes.cri-o.ImageName\":\"quay.io/x\"}}");
	assert_int_equal(container_read_state(files->root, container), 0);
	assert_int_equal(container->place.runtime, RUNTIME_CRIO);
	assert_string_equal(container->name, "main");
	assert_string_equal(container->image, "quay.io/x");
	assert_string_equal(container->pod_name, "a-1");
	container_free(container);
}

static void docker_tells_names(void **state)
{
	const struct place_files *files = *state;
	struct container *container = container_at("/agents.slice/" ID);

	write_below(
		files, "/var/lib/docker/containers/" ID "/config.v2.json",
		"{\"Name\":\"/web\",\"Config\":{\"Image\":\"nginx\",\"Labels\":{}},\"MountPoints\":{\"/d\":{\"Source\":"
		"\"/var/lib/docker/volumes/db/_data\",\"Destination\":\"/d\"}}}");
	assert_int_equal(container_read_state(files->root, container), 0);
	assert_int_equal(container->place.runtime, RUNTIME_DOCKER);
	assert_string_equal(container->name, "web");
	assert_string_equal(container->image, "nginx");
	assert_int_equal(container->mounts.count, 1);
	assert_string_equal(container->mounts.list[0].name, "db");
	assert_null(container->pod_name);
	container_free(container);
}

static void podman_tells_names(void **state)
{
	const struct place_files *files = *state;
	struct container *container = container_at("/machine.slice/libpod-" ID ".scope");

	write_below(files, "/var/lib/containers/storage/overlay-containers/containers.json",
		    "[{\"id\":\"" NODE "\",\"names\":[\"other\"]},{\"id\":\"" ID "\",\"names\":[\"web\",\"x\"]}]");
	assert_int_equal(container_read_state(files->root, container), 0);
	assert_string_equal(container->name, "web");
	container_free(container);
}

static void bad_state_is_refused(void **state)
{
	static const char *const texts[] = {"", "{", "[]", "{\"Config\":3}", "7"};
	const struct place_files *files = *state;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct container *container = container_at("/docker/" ID);

		write_below(files, "/var/lib/docker/containers/" ID "/config.v2.json", texts[i]);
		assert_int_equal(container_read_state(files->root, container), -EBADMSG);
		assert_null(container->name);
		container_free(container);
	}
}

static void blind_nodes_are_told(void **state)
{
	const struct place_files *files = *state;
	struct container_blindness blindness;
	char *text;

	write_below(files, "/10/cgroup", "3:pids:/docker/" ID "\n0::/docker/" ID "\n");
	write_below(files, "/11/cgroup", "3:pids:/user.slice\n0::/\n");
	write_below(files, "/meminfo", "x");
	assert_int_equal(container_find_blind(files->root, &blindness), 0);
	assert_int_equal(blindness.processes, 0);
	assert_null(container_blindness_text(&blindness));
	write_below(files, "/12/cgroup", "3:pids:/docker/" ID "\n0::/\n");
	write_below(files, "/13/cgroup", "3:pids:/docker/" ID "\n0::/\n");
	assert_int_equal(container_find_blind(files->root, &blindness), 0);
	assert_int_equal(blindness.processes, 2);
	assert_int_equal(blindness.in_pods, 0);
	assert_true(blindness.pid == 12 || blindness.pid == 13);
	text = container_blindness_text(&blindness);
	assert_non_null(strstr(text, "2 processes"));
	assert_non_null(strstr(text, "0f1e2d3c4b5a of docker"));
	free(text);
	/* Of pods, the one with a cgroup2 id and the other without. */
	write_below(files, "/14/cgroup", "0::/kubepods/burstable/pod" UID "/" ID "\n");
	write_below(files, "/15/cgroup", "3:pids:/kubepods/burstable/pod" UID "/" ID "\n0::/\n");
	assert_int_equal(container_find_blind(files->root, &blindness), 0);
	assert_int_equal(blindness.processes, 3);
	assert_int_equal(blindness.in_pods, 2);
	assert_int_equal(container_find_blind("/nonexistent", &blindness), -ENOENT);
}

/* ---- mounts ---- */

static const char host_text[] =
	"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
	"30 22 0:50 / /var/lib/kubelet/pods/" UID "/volumes/kubernetes.io~secret/token rw - tmpfs tmpfs rw\n"
	"31 22 8:17 / /var/lib/kubelet/plugins/kubernetes.io/csi/driver/abc/globalmount rw - ext4 /dev/sdb1 rw\n"
	"32 22 8:17 / /var/lib/kubelet/pods/" UID "/volumes/kubernetes.io~csi/pvc-7/mount rw - ext4 /dev/sdb1 rw\n"
	"33 22 8:33 / /data rw - ext4 /dev/sdc1 rw\n"
	"34 22 8:33 /only /srv/only rw - ext4 /dev/sdc1 rw\n"
	"garbage\n";

static const char inside_text[] =
	"500 499 0:77 / / rw,relatime - overlay overlay rw\n"
	"501 500 0:78 / /proc rw - proc proc rw\n"
	"502 500 8:1 /var/lib/kubelet/pods/" UID "/volumes/kubernetes.io~empty-dir/work /work rw - ext4 /dev/sda1 rw\n"
	"503 500 8:17 / /pvc rw - ext4 /dev/sdb1 rw\n"
	"504 500 8:17 /sub /pvc/over rw - ext4 /dev/sdb1 rw\n"
	"505 500 8:33 /only/deep /deep rw - ext4 /dev/sdc1 rw\n"
	"506 500 8:1 /var/lib/docker/volumes/db/_data /with\\040space rw - ext4 /dev/sda1 rw\n"
	"507 500 8:1 /var/lib/containers/storage/volumes/pv/_data /podman rw - ext4 /dev/sda1 rw\n"
	"508 500 8:1 /home/dev/project /src rw - ext4 /dev/sda1 rw\n"
	"509 500 0:90 / /dev/shm rw - tmpfs tmpfs rw\n"
	"510 500 8:1 /var/lib/kubelet/pods/" UID "/volume-subpaths/data/main/0 /subpath rw - ext4 /dev/sda1 rw\n"
	"511 500 8:1 / /host rw - ext4 /dev/sda1 rw\n";

static void paths_lead_to_the_host(void **state)
{
	static const struct {
		const char *path, *host, *volume;
	} rows[] = {
		{"/work/x/y", "/var/lib/kubelet/pods/" UID "/volumes/kubernetes.io~empty-dir/work/x/y", "work"},
		{"/work", "/var/lib/kubelet/pods/" UID "/volumes/kubernetes.io~empty-dir/work", "work"},
		{"/workshop/x", NULL, NULL},
		{"/pvc/a", "/var/lib/kubelet/pods/" UID "/volumes/kubernetes.io~csi/pvc-7/mount/a", "pvc-7"},
		{"/pvc/over/a", "/var/lib/kubelet/pods/" UID "/volumes/kubernetes.io~csi/pvc-7/mount/sub/a", "pvc-7"},
		{"/deep/x", "/srv/only/deep/x", NULL},
		{"/with space/t", "/var/lib/docker/volumes/db/_data/t", "db"},
		{"/podman/t", "/var/lib/containers/storage/volumes/pv/_data/t", "pv"},
		{"/src/main.c", "/home/dev/project/main.c", NULL},
		{"/subpath/f", "/var/lib/kubelet/pods/" UID "/volume-subpaths/data/main/0/f", "data"},
		{"/host/etc/passwd", "/etc/passwd", NULL},
		{"/host", "/", NULL},
		{"/etc/passwd", NULL, NULL},
		{"/dev/shm/x", NULL, NULL},
		{"/proc/1/x", NULL, NULL},
	};
	struct mounts inside = {}, host = {};
	struct volumes volumes = {};

	(void)state;
	assert_int_equal(mounts_parse(inside_text, &inside), 0);
	assert_int_equal(mounts_parse(host_text, &host), 0);
	assert_int_equal(inside.count, 12);
	assert_int_equal(host.count, 6);
	assert_int_equal(volumes_find(&inside, &host, &volumes), 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *volume = NULL;
		char *path = NULL;

		print_message("%s\n", rows[i].path);
		assert_int_equal(volumes_behind(&volumes, rows[i].path, &path, &volume), rows[i].host ? 0 : -ENOENT);
		if (rows[i].host)
			assert_string_equal(path, rows[i].host);
		assert_int_equal(volume != NULL, rows[i].volume != NULL);
		if (volume)
			assert_string_equal(volume, rows[i].volume);
		free(path);
	}
	mounts_free(&inside);
	mounts_free(&host);
	volumes_free(&volumes);
}

static void own_mounts_are_read(void **state)
{
	struct mounts mounts = {};

	(void)state;
	assert_int_equal(mounts_read((uint32_t)getpid(), &mounts), 0);
	assert_true(mounts.count > 0);
	mounts_free(&mounts);
	assert_int_equal(mounts_read(0, &mounts), -ESRCH);
}

#define WITH_FILES(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_tell_containers),
		cmocka_unit_test(other_paths_tell_none),
		cmocka_unit_test(damaged_paths_are_harmless),
		cmocka_unit_test(the_outer_pod_is_before_the_inner),
		cmocka_unit_test(hierarchies_of_both_versions),
		WITH_FILES(containerd_tells_names),
		WITH_FILES(a_sandbox_is_told),
		WITH_FILES(crio_tells_names),
		WITH_FILES(docker_tells_names),
		WITH_FILES(podman_tells_names),
		WITH_FILES(bad_state_is_refused),
		WITH_FILES(blind_nodes_are_told),
		cmocka_unit_test(paths_lead_to_the_host),
		cmocka_unit_test(own_mounts_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
