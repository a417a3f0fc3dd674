/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "commands.h"

#include <malloc.h>
#include <signal.h>
#include <systemd/sd-daemon.h>

#include "journal.h"
#include "metrics.h"
#include "opts.h"
#include "pins.h"
#include "policy_watch.h"
#include "serve.h"

struct daemon_options {
	const char *policy;
	const char *events;
	const char *metrics;
	const char *pins;
	struct kube_api_options api;
	const char *node;
	const char *api_namespace;
	bool api_verified;
	const char *journal, *journal_key;
	size_t ring_bytes;
	bool api_policies;
	bool observe;
	bool tracepoints;
	bool watch_policy;
	bool quiet;
};

enum {
	OPTION_EVENTS = OPTION_OWN,
	OPTION_KEEP,
	OPTION_NODE,
	OPTION_API,
	OPTION_API_CA,
	OPTION_API_TOKEN,
	OPTION_API_POLICIES,
	OPTION_API_NAMESPACE,
	OPTION_API_VERIFIED,
	OPTION_PINS,
	OPTION_METRICS,
	OPTION_RING,
	OPTION_OBSERVE,
	OPTION_TRACEPOINTS,
	OPTION_JOURNAL,
	OPTION_JOURNAL_KEY,
	OPTION_WATCH_POLICY
};

static const struct argp_option rows[] = {
	{"policy", 'p', "FILE", 0,
	 "The policy (default: /etc/reprieve/policy.yaml if it is there, else the built-in one)", 0},
	{"watch-policy", OPTION_WATCH_POLICY, NULL, 0,
	 "Reload the policy whenever its file becomes another one, as SIGHUP does", 0},
	{"events", OPTION_EVENTS, "FILE", 0, "Append every event to FILE, as JSON lines", 0},
	{"journal", OPTION_JOURNAL, "DIR", 0,
	 "Keep a journal in DIR of all that happens and is decided, for `reprieve replay`, `report`, `export`", 0},
	{"journal-key", OPTION_JOURNAL_KEY, "FILE", 0,
	 "The private key that signs the journal, made where it is not there (default: " JOURNAL_KEY_DEFAULT ")", 0},
	{"metrics", OPTION_METRICS, "[HOST:]PORT", 0,
	 "Serve metrics for Prometheus at http://HOST:PORT/metrics (HOST: 127.0.0.1 where none is given)", 0},
	{"observe", OPTION_OBSERVE, NULL, 0, "Stop nothing: record every verdict as what it would have been", 0},
	{"tracepoints", OPTION_TRACEPOINTS, NULL, 0, "Use the signal tier even where the lsm tier works", 0},
	{"ring", OPTION_RING, "KIB", 0, "Size of the ring buffer in KiB, a power of two (default: 32768)", 0},
	{"keep", OPTION_KEEP, NULL, 0,
	 "When the daemon ends, however it ends, let the guard go on in the kernel until the next daemon takes it over or "
	 "`reprieve release` takes it off",
	 0},
	{"pins", OPTION_PINS, "DIR", 0, "The same, below DIR of a BPF file system (default: " PINS_DEFAULT ")", 0},
	{"node", OPTION_NODE, "NAME", 0,
	 "The name of this node in Kubernetes: agents by pod are looked for among its pods (default: $NODE_NAME)", 0},
	{"api", OPTION_API, "URL", 0,
	 "The Kubernetes API, https://HOST:PORT; wants --node (default: that of the cluster, where this runs in a pod)",
	 0},
	{"api-ca", OPTION_API_CA, "FILE", 0,
	 "Certificates of who vouches for the API (default: the pod's; with --api: the system's)", 0},
	{"api-token", OPTION_API_TOKEN, "FILE", 0,
	 "The token to show it, read anew for each request (default: the pod's; with --api: none)", 0},
	{"api-policies", OPTION_API_POLICIES, NULL, 0,
	 "Add the agents and rules of objects of kind ReprievePolicy, of all namespaces, behind those of the policy",
	 0},
	{"api-namespace", OPTION_API_NAMESPACE, "NAME", 0,
	 "The namespace of Hold objects for sessions that are in no pod (default: the daemon's own, where it runs in one)",
	 0},
	{"api-verified", OPTION_API_VERIFIED, NULL, 0,
	 "The cluster's admission policy makes spec.decidedBy of a Hold the name of who wrote it: believe it, and demand it",
	 0},
	{"quiet", 'q', NULL, 0, "No lines for people on standard error about alerts and kills", 0},
	{},
};

/* A power of two of KiB, as the kernel wants it. 0: not one. */
static size_t ring_bytes_of(const char *text)
{
	char *end;
	unsigned long kib = strtoul(text, &end, 10);

	if (*end || !kib || kib & (kib - 1) || kib < 4 || kib > 1u << 20)
		return 0;
	return kib * 1024;
}

/* What concerns Kubernetes. */
static error_t parse_api(int key, char *argument, struct argp_state *state)
{
	struct daemon_options *own = state->input;

	switch (key) {
	case OPTION_NODE:
		own->node = argument;
		return 0;
	case OPTION_API:
		own->api.server = argument;
		return 0;
	case OPTION_API_CA:
		own->api.ca_path = argument;
		return 0;
	case OPTION_API_TOKEN:
		own->api.token_path = argument;
		return 0;
	case OPTION_API_NAMESPACE:
		own->api_namespace = argument;
		if (!kube_is_name(argument))
			argp_error(state, "--api-namespace %s: that is no namespace's name", argument);
		return 0;
	case OPTION_API_VERIFIED:
		own->api_verified = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
	struct daemon_options *own = state->input;

	switch (key) {
	case 'p':
		own->policy = argument;
		return 0;
	case 'q':
		own->quiet = true;
		return 0;
	case OPTION_EVENTS:
		own->events = argument;
		return 0;
	case OPTION_JOURNAL:
		own->journal = argument;
		return 0;
	case OPTION_JOURNAL_KEY:
		own->journal_key = argument;
		return 0;
	case OPTION_METRICS:
		own->metrics = argument;
		return 0;
	case OPTION_KEEP:
		own->pins = own->pins ? own->pins : PINS_DEFAULT;
		return 0;
	case OPTION_PINS:
		own->pins = argument;
		return 0;
	case OPTION_WATCH_POLICY:
		own->watch_policy = true;
		return 0;
	case OPTION_API_POLICIES:
		own->api_policies = true;
		return 0;
	case OPTION_OBSERVE:
		own->observe = true;
		return 0;
	case OPTION_TRACEPOINTS:
		own->tracepoints = true;
		return 0;
	case OPTION_RING:
		own->ring_bytes = ring_bytes_of(argument);
		if (!own->ring_bytes)
			argp_error(state, "--ring %s: a power of two from 4 to 1048576 is needed", argument);
		return 0;
	default:
		return parse_api(key, argument, state);
	}
}

static const struct option_spec spec = {
	.summary = "Guards this machine, in the foreground. SIGHUP reloads the policy, SIGTERM ends.",
	.examples = "  sudo reprieve daemon --policy /etc/reprieve/policy.yaml\n"
		    "  sudo reprieve daemon --observe --events /var/log/reprieve/events.jsonl\n"
		    "  sudo reprieve daemon --json | jq 'select(.kind == \"op\")'\n",
	.common = COMMON_SOCKET | COMMON_JSON | COMMON_COLOR,
	.options = rows,
	.parse = parse,
};

struct daemon {
	sd_event *event;
	struct serve serve;
	struct sinks *sinks;
	struct metrics *metrics;
	struct policy_watch *watch;
};

static void reload(void *userdata)
{
	struct daemon *daemon = userdata;

	sd_notify(0, "RELOADING=1");
	engine_reload(daemon->serve.engine);
	sd_notify(0, "READY=1");
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	(void)source;
	(void)info;
	reload(userdata);
	return 0;
}

static int on_end(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	(void)info;
	(void)userdata;
	return sd_event_exit(sd_event_source_get_event(source), 0);
}

static int watch_signals(struct daemon *daemon)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	if (sd_event_add_signal(daemon->event, NULL, SIGHUP, on_hangup, daemon) < 0 ||
	    sd_event_add_signal(daemon->event, NULL, SIGTERM, on_end, daemon) < 0 ||
	    sd_event_add_signal(daemon->event, NULL, SIGINT, on_end, daemon) < 0)
		return -ENOMEM;
	return 0;
}

static int open_sinks(struct daemon *daemon, const struct daemon_options *own, const struct common_options *common)
{
	int error = sinks_new(&daemon->sinks);

	if (!error && common->json)
		error = sinks_add_fd(daemon->sinks, STDOUT_FILENO, VERDICT_ALLOW);
	if (!error && own->events)
		error = sinks_add_file(daemon->sinks, own->events, VERDICT_ALLOW);
	if (!error && !own->quiet)
		error = sinks_add_people(daemon->sinks, STDERR_FILENO, VERDICT_ALERT,
					 common->color && isatty(STDERR_FILENO));
	return error;
}

static json_t *status_of(void *userdata)
{
	struct daemon *daemon = userdata;

	return engine_status(daemon->serve.engine);
}

static int open_metrics(struct daemon *daemon, const struct daemon_options *own)
{
	int error = own->metrics ? metrics_new(daemon->event, own->metrics, status_of, daemon, &daemon->metrics) : 0;

	if (error == -EINVAL)
		log_error("--metrics %s: no address to listen at; write PORT, HOST:PORT or [ADDRESS]:PORT",
			  own->metrics);
	else if (error)
		log_error("--metrics %s: cannot listen there: %s", own->metrics, strerror(-error));
	return error;
}

static int watch_policy(struct daemon *daemon, const char *path)
{
	int error = policy_watch_new(daemon->event, path, reload, daemon, &daemon->watch);

	if (error)
		log_error("--watch-policy: %s cannot be watched: %s", path, strerror(-error));
	return error;
}

static int exit_code_of(int error)
{
	if (!error)
		return EXIT_DONE;
	return error == -EPERM || error == -ENOTSUP || error == -ENOENT ? EXIT_LACKING : EXIT_FAILED;
}

static void tell_ready(struct daemon *daemon, const struct common_options *common)
{
	const struct guard_tier *tiers = engine_tiers(daemon->serve.engine);

	log_info("guarding: files by tier %s, SQL by tier %s; policy %s with %zu rules; socket %s",
		 tier_name(tiers[OP_UNLINK].tier), tier_name(tiers[OP_SQL].tier),
		 policy_origin(engine_current_policy(daemon->serve.engine)),
		 policy_rule_count(engine_current_policy(daemon->serve.engine)), common->socket);
	sd_notify(0, "READY=1");
}

/* As it was given, else as each pod is given it. Nowhere: no server. */
static int find_api(struct daemon_options *own, char **ret_server)
{
	struct kube_api_options *api = &own->api;
	bool given = api->server;
	int error = given ? 0 : kube_in_cluster(api, ret_server);

	if (!own->node)
		own->node = getenv("NODE_NAME");
	if (error)
		return error == -ENOENT ? 0 : error;
	if (kube_is_server(api->server) && own->node && kube_is_name(own->node))
		return 0;
	if (starts_with(api->server, "http://") && !kube_is_server(api->server)) {
		log_error(
			"--api %s: whoever is on the way could read the token and say which pods are agents: an address "
			"such as https://10.0.0.1:6443 is needed, http:// is for this machine alone (kubectl proxy)",
			api->server);
		return -EINVAL;
	}
	if (given) {
		log_error(
			"--api %s: an address such as https://10.0.0.1:6443 is needed, and --node with the node's name",
			api->server);
		return -EINVAL;
	}
	log_warning(
		"this runs in a pod, but on which node is not told: agents are not found by pod; set NODE_NAME from "
		"spec.nodeName, or give --node");
	api->server = NULL;
	return 0;
}

/* Objects that are asked for and cannot be had would be missed by nobody. */
static int check_api(const struct daemon_options *own)
{
	if (!own->api_policies || own->api.server)
		return 0;
	log_error("--api-policies: no Kubernetes API is known; run as a pod of the cluster with NODE_NAME set, or give "
		  "--api and --node");
	return -EINVAL;
}

static int run_daemon(struct daemon *daemon, const struct daemon_options *own, const struct common_options *common)
{
	struct engine_options options = {.policy_path = own->policy,
					 .observe = own->observe,
					 .tracepoints = own->tracepoints,
					 .ring_bytes = own->ring_bytes,
					 .adopt = true,
					 .own_files = {own->events, common->socket},
					 .pins = own->pins,
					 .api = own->api,
					 .api_policies = own->api_policies,
					 .node = own->node,
					 .api_namespace = own->api_namespace,
					 .api_verified = own->api_verified,
					 .journal = own->journal,
					 .journal_key = own->journal_key,
					 .publish = serve_publish,
					 .has_readers = serve_has_readers,
					 .userdata = &daemon->serve};
	int error;

	if (!options.policy_path && !access(POLICY_DEFAULT, F_OK))
		options.policy_path = POLICY_DEFAULT;
	if (sd_event_default(&daemon->event) < 0 || watch_signals(daemon))
		return EXIT_FAILED;
	error = open_sinks(daemon, own, common);
	options.sinks = daemon->sinks;
	if (error)
		return EXIT_FAILED;
	error = serve_open(daemon->event, common->socket, &daemon->serve);
	if (error)
		return control_listen_report(error, common->socket);
	error = engine_new(daemon->event, &options, &daemon->serve.engine);
	if (error)
		return exit_code_of(error);
	if (open_metrics(daemon, own))
		return EXIT_FAILED;
	if (own->watch_policy && options.policy_path && watch_policy(daemon, options.policy_path))
		return EXIT_FAILED;
	tell_ready(daemon, common);
	malloc_trim(0); /* compiling a policy takes 20 MB for a moment */
	error = sd_event_loop(daemon->event);
	sd_notify(0, "STOPPING=1");
	engine_drain(daemon->serve.engine);
	return error < 0 ? EXIT_FAILED : EXIT_DONE;
}

int cmd_daemon(int argc, char **argv)
{
	struct daemon_options own = {};
	struct common_options common;
	struct daemon daemon = {};
	_cleanup_free_ char *server = NULL, *space = NULL;
	int code = options_parse(&spec, argc, argv, &own, &common);

	if (code)
		return code;
	if (!own.api_namespace && kube_own_namespace(&space) == 0)
		own.api_namespace = space;
	code = require_root("the daemon");
	if (code)
		return code;
	code = find_api(&own, &server) || check_api(&own) ? EXIT_USAGE : run_daemon(&daemon, &own, &common);
	policy_watch_free(daemon.watch);
	metrics_free(daemon.metrics);
	engine_free(daemon.serve.engine);
	serve_close(&daemon.serve);
	sinks_free(daemon.sinks);
	sd_event_unref(daemon.event);
	return code;
}
