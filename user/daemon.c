// SPDX-License-Identifier: GPL-2.0-or-later
#include "daemon.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "cleanup.h"
#include "collect.h"
#include "elders.h"
#include "events.h"
#include "hosts.h"
#include "ifaces.h"
#include "kernel.h"
#include "log.h"
#include "maps.h"
#include "mounts.h"
#include "networks.h"
#include "places.h"
#include "privileges.h"
#include "quantity.h"
#include "state.h"
#include "sweep.h"
#include "tell.h"
#include "units.h"

#define MSEC 1000ULL /* in the loop's microseconds */
#define TICKS 4

struct daemon;

/* Something done again and again, by a clock that nobody sets. */
struct tick {
	uint64_t usec;
	void (*run)(struct daemon *daemon);
	struct daemon *daemon;
	sd_event_source *source;
};

struct daemon {
	const char *path;
	sd_event *loop;
	struct config *config;
	struct ruleset *ruleset; /* as published */
	struct kernel *kernel;
	struct maps *maps;
	struct ifaces *ifaces;
	struct units *units;
	struct places *places;
	struct teller *teller;
	struct state *state;
	struct sweep *sweep;
	struct collect *collect;
	struct events *events;
	struct tick tick[TICKS];
	bool first;    /* nothing was up before, or not for long enough to be saved */
	bool alone;    /* told that there is no outside interface */
	bool outdated; /* the rules: hosts have other addresses */
};

/* ---- loading ---- */

static void tell_findings(const struct findings *findings, void (*tell)(bool, const char *))
{
	for (size_t i = 0; i < findings->n_errors; i++)
		tell(true, findings->error[i]);
	for (size_t i = 0; i < findings->n_warnings; i++)
		tell(false, findings->warning[i]);
}

int daemon_load(const char *path, const struct sw_rules *live,
		void (*tell)(bool error, const char *finding), struct config **ret_config,
		struct ruleset **ret_ruleset)
{
	struct findings findings = {};
	struct config *config = NULL;
	int r;

	r = config_load(path, &findings, &config);
	r = r < 0 ? r : networks_ask(config);
	if (r >= 0)
		r = policy_compile(config, live, &findings, ret_ruleset);
	tell_findings(&findings, tell);
	findings_clear(&findings);
	if (r < 0) {
		if (config)
			config_free(config);
		return r;
	}

	*ret_config = config;
	return 0;
}

static void log_finding(bool error, const char *finding)
{
	log_message(error ? LOG_ERR : LOG_WARNING, "%s", finding);
}

static int live_rules(struct kernel *kernel, struct sw_rules **ret)
{
	struct sw_rules *rules = malloc(sizeof(*rules));
	int r;

	if (!rules)
		return -ENOMEM;
	r = kernel_live_rules(kernel, rules);
	if (r < 0) {
		free(rules);
		rules = NULL;
	}
	if (r < 0 && r != -ENOENT)
		return r;

	*ret = rules;
	return 0;
}

/* ---- the control entry ---- */

/*
 * A mode set by command stands until the file's mode changes: that is the newer wish then. A
 * trial ends with it.
 */
static void control_follow_file(struct sw_control *control, const struct config *config, bool first)
{
	if (!first && control->file_mode == config->mode)
		return;
	control->mode = config->mode;
	control->file_mode = config->mode;
	control->trial_until_ns = 0;
}

static void control_raised(struct sw_control *control, const struct daemon *daemon)
{
	control_follow_file(control, daemon->config, daemon->first);
	snprintf(control->version, sizeof(control->version), "%s", SW_VERSION);
	snprintf(control->config, sizeof(control->config), "%s", daemon->path);
}

static void control_started(struct sw_control *control, const struct daemon *daemon)
{
	(void)daemon;
	control->started_ns = boot_ns();
}

static int control_note(struct daemon *daemon,
			void (*note)(struct sw_control *, const struct daemon *))
{
	struct sw_control control;
	int r = maps_lock(daemon->maps);

	if (r >= 0) {
		r = maps_control(daemon->maps, &control);
		if (r >= 0) {
			note(&control, daemon);
			r = maps_control_write(daemon->maps, &control);
		}
		maps_unlock(daemon->maps);
	}
	return r < 0 ? log_errno(r, "cannot write the map 'control'") : 0;
}

/* `smtpwall reload` waits for this answer. */
static void control_note_reload(struct daemon *daemon, int error)
{
	struct sw_control control;
	int r = maps_lock(daemon->maps);

	if (r >= 0) {
		r = maps_control(daemon->maps, &control);
		if (r >= 0) {
			if (error >= 0)
				control_follow_file(&control, daemon->config, false);
			control.reloads++;
			control.reload_error = -error;
			r = maps_control_write(daemon->maps, &control);
		}
		maps_unlock(daemon->maps);
	}
	if (r < 0)
		log_errno(r, "cannot write the answer to the reload into the map 'control'");
}

/* ---- interfaces ---- */

static int iface_appeared(const struct iface *iface, void *userdata)
{
	struct daemon *daemon = userdata;
	struct event_record record = EVENT("attach");
	int r = kernel_attach_interface(daemon->kernel, iface->index, iface->name);

	if (r < 0)
		return r;
	daemon->alone = false;
	tell(daemon->teller, LOG_INFO, &record,
	     "mail that leaves by '%s' (interface %u) is counted", iface->name, iface->index);
	return 0;
}

static void iface_disappeared(const struct iface *iface, bool gone, void *userdata)
{
	struct daemon *daemon = userdata;
	struct event_record record = EVENT("detach");

	kernel_detach_interface(daemon->kernel, iface->index);
	tell(daemon->teller, LOG_INFO, &record, "'%s' (interface %u) is no longer counted: %s",
	     iface->name, iface->index, gone ? "it is gone" : "it is not outside any more");
}

static void own_addresses(const struct sw_ip *address, size_t n, void *userdata)
{
	struct daemon *daemon = userdata;

	kernel_own_addresses(daemon->kernel, address, n);
}

static void tell_if_alone(struct daemon *daemon)
{
	size_t n;

	ifaces_attached(daemon->ifaces, &n);
	if (!n && !daemon->alone)
		log_notice("no interface is outside yet: one is counted as soon as a default route "
			   "or a route with a gateway leaves by it; users of this machine are "
			   "judged all the same");
	daemon->alone = !n;
}

/* ---- units and places ---- */

static int put_unit(const struct sw_cgroup *cgroup, const struct sw_unit_match *match,
		    void *userdata)
{
	struct daemon *daemon = userdata;

	return kernel_put_unit(daemon->kernel, cgroup, match);
}

static int put_place(const struct sw_dir *dir, const struct sw_place *place, void *userdata)
{
	struct daemon *daemon = userdata;

	return kernel_put_place(daemon->kernel, dir, place);
}

static int open_scene(struct daemon *daemon)
{
	_cleanup_free_ char *mount = NULL;
	struct sw_control control;
	int r = maps_control(daemon->maps, &control);

	r = r < 0 ? r : cgroup2_mount(&mount);
	if (r < 0)
		return log_errno(r, "cannot find the cgroups");
	r = units_new(mount, control.cgroup, put_unit, daemon, &daemon->units);
	return r < 0 ? r
		     : places_new(kernel_maps_dir(daemon->kernel), put_place, daemon,
				  &daemon->places);
}

/* The globs of rules that were not taken are gone with them. */
static void follow_again(struct daemon *daemon)
{
	_cleanup_free_ struct unit_row *unit = NULL;
	const struct place_row *place;
	size_t n;

	units_rows(daemon->units, &daemon->ruleset->units, &unit, &n);
	places_rows(daemon->places, &daemon->ruleset->dirs, &place, &n);
}

/* What the rules are about, as it is now: from here on it is followed by their globs. */
static int publish_scene(struct daemon *daemon, const struct config *config,
			 const struct ruleset *ruleset)
{
	_cleanup_free_ struct unit_row *unit = NULL;
	struct scene scene = {};
	int r = units_rows(daemon->units, &ruleset->units, &unit, &scene.n_units);

	r = r < 0 ? r
		  : places_rows(daemon->places, &ruleset->dirs, &scene.place, &scene.n_places);
	if (r < 0)
		return log_errno(r, "cannot tell which units and sites the rules are about");
	scene.unit = unit;
	r = kernel_publish(daemon->kernel, config, ruleset, &scene);
	if (r < 0)
		follow_again(daemon);
	return r;
}

/* ---- rules ---- */

static int publish(struct daemon *daemon, struct config *config, struct ruleset *ruleset)
{
	int r = publish_scene(daemon, config, ruleset);

	if (r < 0)
		return r;
	teller_follow(daemon->teller, &ruleset->rules, config->ipv6_prefix);
	return 0;
}

/*
 * Compiled once before the kernel is touched, so that a broken file changes nothing. Where a
 * gate stands, once more, with the cells that the limits in force have: windows survive.
 */
static int compile_again(struct daemon *daemon)
{
	_cleanup_free_ struct sw_rules *live = NULL;
	struct ruleset *ruleset = NULL;
	struct findings findings = {};
	int r = live_rules(daemon->kernel, &live);

	if (r < 0 || !live)
		return r;
	r = policy_compile(daemon->config, live, &findings, &ruleset);
	if (r < 0)
		tell_findings(&findings, log_finding);
	findings_clear(&findings);
	if (r < 0)
		return r;
	ruleset_free(daemon->ruleset);
	daemon->ruleset = ruleset;
	return 0;
}

/* Names of relays that had no address may have one now: as a reload, but of them alone. */
static int rules_again(struct daemon *daemon)
{
	struct event_record record = EVENT("reload");
	int r = compile_again(daemon);

	r = r < 0 ? r : publish(daemon, daemon->config, daemon->ruleset);
	if (r >= 0)
		tell(daemon->teller, LOG_NOTICE, &record,
		     "names of relays or exempt destinations have other addresses now: they are "
		     "taken");
	return r;
}

/* ---- ticks ---- */

static void reopen_maps(struct daemon *daemon)
{
	struct maps *maps;
	int r = maps_open(daemon->config->pin_dir, &maps);

	if (r < 0) {
		log_errno(r, "cannot open the maps in '%s' again", daemon->config->pin_dir);
		return;
	}
	sweep_maps(daemon->sweep, maps);
	collect_maps(daemon->collect, maps);
	state_maps(daemon->state, maps);
	teller_maps(daemon->teller, maps);
	maps_close(daemon->maps);
	daemon->maps = maps;
}

static void tick_verify(struct daemon *daemon)
{
	struct event_record record = EVENT("repair");
	int n = kernel_verify(daemon->kernel);

	if (n <= 0)
		return;
	record.count = n;
	tell(daemon->teller, TELL_HISTORY, &record,
	     "%d hooks or pins were taken away by somebody else, and put back", n);
	reopen_maps(daemon); /* the lock of editors is on a directory that may be a new one */
}

/* The ring knows who made the blocks that the sweep finds. */
static void sweep(struct daemon *daemon)
{
	events_take(daemon->events);
	sweep_now(daemon->sweep);
}

static void tick_sweep(struct daemon *daemon)
{
	teller_each_second(daemon->teller);
	sweep(daemon);
	collect_now(daemon->collect);
}

static void tick_minute(struct daemon *daemon)
{
	teller_each_minute(daemon->teller);
	units_look(daemon->units);
	places_check(daemon->places);
	collect_each_minute(daemon->collect);
}

static void tick_hosts(struct daemon *daemon)
{
	daemon->outdated = hosts_news() || daemon->outdated;
	if (daemon->outdated)
		daemon->outdated = rules_again(daemon) < 0;
	hosts_ask_again();
}

static const struct tick ticks[TICKS] = {
	{ .usec = 500 * MSEC, .run = tick_verify },
	{ .usec = 1000 * MSEC, .run = tick_sweep },
	{ .usec = 60000 * MSEC, .run = tick_minute },
	{ .usec = 5000 * MSEC, .run = tick_hosts },
};

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct tick *tick = userdata;

	(void)usec;
	tick->run(tick->daemon);
	sd_event_source_set_time_relative(source, tick->usec);
	sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	return 0;
}

static int start_ticks(struct daemon *daemon)
{
	int r = 0;

	for (size_t i = 0; i < TICKS && r >= 0; i++) {
		struct tick *tick = &daemon->tick[i];

		*tick = ticks[i];
		tick->daemon = daemon;
		r = sd_event_add_time_relative(daemon->loop, &tick->source, CLOCK_MONOTONIC,
					       tick->usec, 10 * MSEC, on_tick, tick);
	}
	return r < 0 ? log_errno(r, "cannot start the timers") : 0;
}

/* ---- status for systemd ---- */

static void status_text(struct daemon *daemon, char *text, size_t size)
{
	struct sw_control control = {};
	const struct iface *iface;
	size_t n, at;

	maps_control(daemon->maps, &control);
	at = snprintf(text, size,
		      "%s, %zu %s, outside:", mode_name(control_mode(&control, boot_ns())),
		      daemon->config->n_policies,
		      daemon->config->n_policies == 1 ? "policy" : "policies");
	iface = ifaces_attached(daemon->ifaces, &n);
	for (size_t i = 0; i < n && at < size; i++)
		at += snprintf(text + at, size - at, " %s", iface[i].name);
	if (!n && at < size)
		snprintf(text + at, size - at, " none yet");
}

static void notify_ready(struct daemon *daemon)
{
	char text[256];

	status_text(daemon, text, sizeof(text));
	sd_notifyf(0, "READY=1\nSTATUS=%s", text);
}

/* ---- reload ---- */

/* What the maps, links and pins of this run were made with. */
static int refuse_frozen(const struct config *old, const struct config *new)
{
	const struct {
		const char *key;
		bool changed;
	} frozen[] = {
		{ "pin_dir", strcmp(old->pin_dir, new->pin_dir) },
		{ "cgroup", strcmp(old->cgroup, new->cgroup) },
		{ "max_users", old->max_users != new->max_users },
		{ "state_dir", strcmp(old->state_dir, new->state_dir) },
		{ "outside_hook", old->outside_hook != new->outside_hook },
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(frozen); i++) {
		if (!frozen[i].changed)
			continue;
		log_error("%s: '%s' cannot change while the gate stands: stop smtpwalld, run "
			  "`smtpwall detach` (counters are lost, blocks come back), start "
			  "smtpwalld",
			  new->path, frozen[i].key);
		r = -EBUSY;
	}
	return r;
}

static int reload_into(struct daemon *daemon)
{
	_cleanup_free_ struct sw_rules *live = NULL;
	struct ruleset *ruleset = NULL;
	struct config *config = NULL;
	int r;

	units_hear(daemon->units); /* who asks has made them before */
	r = live_rules(daemon->kernel, &live);
	if (r < 0)
		return r;
	r = daemon_load(daemon->path, live, log_finding, &config, &ruleset);
	if (r < 0)
		return r;
	r = refuse_frozen(daemon->config, config);
	r = r < 0 ? r : publish(daemon, config, ruleset);
	if (r < 0) {
		config_free(config);
		ruleset_free(ruleset);
		return r;
	}
	ifaces_follow(daemon->ifaces, &config->interfaces);
	sweep_follow(daemon->sweep, config);
	config_free(daemon->config);
	ruleset_free(daemon->ruleset);
	daemon->config = config;
	daemon->ruleset = ruleset;
	return 0;
}

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct event_record record = EVENT("reload");
	struct daemon *daemon = userdata;
	uint64_t now_usec = 0;
	int r;

	(void)source, (void)info;
	sd_event_now(daemon->loop, CLOCK_MONOTONIC, &now_usec);
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)now_usec);
	r = reload_into(daemon);
	control_note_reload(daemon, r);
	record.reason = r < 0 ? strerror(-r) : NULL;
	if (r < 0)
		tell(daemon->teller, LOG_ERR, &record,
		     "'%s' was not loaded, the old configuration goes on", daemon->path);
	else
		tell(daemon->teller, LOG_NOTICE, &record, "'%s' was loaded: %zu %s", daemon->path,
		     daemon->config->n_policies,
		     daemon->config->n_policies == 1 ? "policy" : "policies");
	sweep(daemon); /* tells if the mode changed */
	tell_if_alone(daemon);
	notify_ready(daemon);
	return 0;
}

static int on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct event_record record = EVENT("stop");
	struct daemon *daemon = userdata;

	(void)source;
	sd_notify(0, "STOPPING=1");
	state_save(daemon->state);
	tell(daemon->teller, LOG_NOTICE, &record,
	     "stopped by %s; the gate stands on, limits and blocks go on (`smtpwall detach` "
	     "removes it)",
	     info->ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
	return sd_event_exit(daemon->loop, 0);
}

/* ---- start ---- */

static int start_loop(struct daemon *daemon)
{
	static const struct {
		int signal;
		sd_event_signal_handler_t handler;
	} signals[] = { { SIGTERM, on_stop }, { SIGINT, on_stop }, { SIGHUP, on_reload } };
	sigset_t set;
	int r;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&set, signals[i].signal);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);

	r = sd_event_new(&daemon->loop);
	for (size_t i = 0; i < ARRAY_SIZE(signals) && r >= 0; i++)
		r = sd_event_add_signal(daemon->loop, NULL, signals[i].signal, signals[i].handler,
					daemon);
	return r < 0 ? log_errno(r, "cannot make the event loop") : 0;
}

/*
 * Also after a start that failed before it published anything, or that was killed before it saved
 * what it had put back: what the file holds is then still to be put back.
 */
static bool is_first(const struct daemon *daemon)
{
	struct sw_control control;

	return kernel_fresh(daemon->kernel) ||
	       (maps_control(daemon->maps, &control) == 0 &&
		(!control.generation || !control.started_ns));
}

/* The numbers of rules go on over a reboot: the next that means the slot just published. */
static int continue_generations(struct daemon *daemon)
{
	uint32_t generation = state_generation(daemon->state);
	struct sw_control control;
	int r;

	if (!daemon->first || !generation)
		return 0;
	r = maps_lock(daemon->maps);
	if (r >= 0) {
		r = maps_control(daemon->maps, &control);
		if (r >= 0)
			generation = generation / SW_GENERATIONS * SW_GENERATIONS + SW_GENERATIONS +
				     control.generation % SW_GENERATIONS;
		if (r >= 0 && generation > control.generation) { /* or a killed start did it */
			control.generation = generation;
			r = maps_control_write(daemon->maps, &control);
		}
		maps_unlock(daemon->maps);
	}
	return r < 0 ? log_errno(r, "cannot write the map 'control'") : 0;
}

/* Policy and blocks are in force before the first hook is attached. */
static int raise_gate(struct daemon *daemon)
{
	const struct sw_ip *own;
	size_t n_own;
	int r;

	own = ifaces_addresses(daemon->ifaces, &n_own);
	r = kernel_own_addresses(daemon->kernel, own, n_own);
	r = r < 0 ? r : publish(daemon, daemon->config, daemon->ruleset);
	r = r < 0 ? r : continue_generations(daemon);
	r = r < 0 ? r : control_note(daemon, control_raised);
	if (r >= 0)
		state_restore(daemon->state);
	r = r < 0 ? r : kernel_attach(daemon->kernel);
	/* After the hooks, so that no session slips in between. Its failures are told there. */
	if (r >= 0 && daemon->first)
		elders_tag(daemon->kernel, daemon->config, daemon->ruleset, own, n_own);
	/* What others changed in maps that stood is for the sweep to tell. */
	if (r >= 0 && daemon->first)
		state_save(daemon->state);
	return r < 0 ? r : control_note(daemon, control_started);
}

static int open_all(struct daemon *daemon)
{
	const struct ifaces_calls calls = {
		.appeared = iface_appeared,
		.disappeared = iface_disappeared,
		.addresses = own_addresses,
		.userdata = daemon,
	};
	int r;

	r = daemon_load(daemon->path, NULL, log_finding, &daemon->config, &daemon->ruleset);
	r = r < 0 ? r : kernel_open(daemon->config, &daemon->kernel);
	r = r < 0 ? r : compile_again(daemon);
	if (r < 0)
		return r;
	r = maps_open(kernel_maps_dir(daemon->kernel), &daemon->maps);
	if (r < 0)
		return log_errno(r, "cannot open the maps in '%s'",
				 kernel_maps_dir(daemon->kernel));
	r = teller_new(daemon->config->state_dir, &daemon->teller);
	if (r >= 0)
		teller_maps(daemon->teller, daemon->maps);
	daemon->first = is_first(daemon);
	r = r < 0 ? r : state_new(daemon->maps, daemon->teller, daemon->first, &daemon->state);
	if (r < 0)
		return log_errno(r, "cannot start");
	r = open_scene(daemon);
	return r < 0 ? r : ifaces_new(&daemon->config->interfaces, &calls, &daemon->ifaces);
}

static int start(struct daemon *daemon)
{
	struct event_record record = EVENT("start");
	char text[256];
	int r;

	r = start_loop(daemon);
	r = r < 0 ? r : open_all(daemon);
	r = r < 0 ? r : raise_gate(daemon);
	r = r < 0 ? r : ifaces_watch(daemon->ifaces, daemon->loop);
	r = r < 0 ? r : units_watch(daemon->units, daemon->loop);
	r = r < 0 ? r : places_watch(daemon->places, daemon->loop);
	if (r >= 0)
		kernel_forget_interfaces(daemon->kernel);
	r = r < 0 ? r : sweep_new(daemon->maps, daemon->teller, daemon->state, &daemon->sweep);
	if (r >= 0)
		sweep_follow(daemon->sweep, daemon->config);
	r = r < 0 ? r
		  : collect_new(daemon->loop, daemon->config->pin_dir, daemon->maps, daemon->teller,
				&daemon->collect);
	r = r < 0 ? r
		  : events_start(daemon->loop, daemon->kernel, daemon->teller, daemon->sweep,
				 daemon->collect, &daemon->events);
	r = r < 0 ? r : start_ticks(daemon);
	r = r < 0 ? r : privileges_drop();
	if (r < 0)
		return r;
	status_text(daemon, text, sizeof(text));
	tell(daemon->teller, LOG_NOTICE, &record, "smtpwalld " SW_VERSION " is up%s: %s",
	     kernel_fresh(daemon->kernel) ? "" : " and has taken over the standing gate", text);
	tell_if_alone(daemon);
	sweep_now(daemon->sweep); /* and saves */
	return 0;
}

static void daemon_clear(struct daemon *daemon)
{
	for (size_t i = 0; i < TICKS; i++)
		sd_event_source_disable_unref(daemon->tick[i].source);
	events_stop(daemon->events);
	collect_free(daemon->collect);
	sweep_free(daemon->sweep);
	state_free(daemon->state);
	ifaces_free(daemon->ifaces);
	units_free(daemon->units);
	places_free(daemon->places);
	teller_free(daemon->teller);
	maps_close(daemon->maps);
	if (daemon->kernel)
		kernel_close(daemon->kernel);
	if (daemon->ruleset)
		ruleset_free(daemon->ruleset);
	if (daemon->config)
		config_free(daemon->config);
	sd_event_unref(daemon->loop);
}

int daemon_run(const char *path, void (*ready)(void *userdata), void *userdata)
{
	struct daemon daemon = { .path = path };
	int r = start(&daemon);

	if (r >= 0) {
		ready(userdata);
		notify_ready(&daemon);
		sd_event_set_watchdog(daemon.loop, true);
		r = sd_event_loop(daemon.loop);
		if (r < 0)
			log_errno(r, "the event loop failed; the gate stands on");
	}
	daemon_clear(&daemon);
	return r;
}

int daemon_restore(const char *path)
{
	struct daemon daemon = { .path = path };
	int r = open_all(&daemon);

	r = r < 0 ? r : raise_gate(&daemon);
	if (r >= 0)
		log_notice("the gate stands, with the blocks from before: smtpwalld, when it runs, "
			   "takes it over");
	daemon_clear(&daemon);
	return r;
}
