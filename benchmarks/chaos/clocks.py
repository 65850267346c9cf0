"""A clock that jumps: of the driver's Python, and of all libraries of one that does the jobs."""

from __future__ import annotations

import os
import signal
import subprocess

from ground import LONGEST, Ground, expect

CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <sys/time.h>
/* The wall clock jumps by up to ten days, back and forth, every other second. */
static long jump(void) {
  struct timespec m; static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  real(CLOCK_MONOTONIC, &m);
  return (m.tv_sec / 2 % 2 ? 1 : -1) * (m.tv_sec * 2654435761u % 864000);
}
int clock_gettime(clockid_t id, struct timespec *t) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int r = real(id, t);
  if (id == CLOCK_REALTIME) t->tv_sec += jump();
  return r;
}
int gettimeofday(struct timeval *t, void *z) {
  struct timespec s; int r = clock_gettime(CLOCK_REALTIME, &s);
  t->tv_sec = s.tv_sec; t->tv_usec = s.tv_nsec / 1000; return r;
}
time_t time(time_t *t) {
  struct timespec s; clock_gettime(CLOCK_REALTIME, &s);
  if (t) *t = s.tv_sec; return s.tv_sec;
}
"""
DRIVER_CLOCK = """
import os, time
mark = os.environ.get("CHAOS_CLOCK")
if mark:
    real, steady = time.time, time.monotonic

    def jumping():
        now = steady()
        jump = (-1) ** (now // 2 % 2) * (now * 2654435761 % 864000)
        return real() + jump * os.path.exists(mark)

    time.time = jumping
"""


def clock_jumps(on: Ground) -> int:
    """Of a driver on Ray, as Python sees it; then, for libraries too, of one that does the jobs.

    Ray's own waiting asks the kernel for the time, which a library in between cannot change.
    """
    source, library = on.work / "clock.c", on.work / "clock.so"
    source.write_text(CLOCK)
    build = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
    subprocess.run(build, check=True)
    (on.work / "sitecustomize.py").write_text(DRIVER_CLOCK)
    mark = on.work / "jump"
    driver = on.start("--address", on.cluster.address, CHAOS_CLOCK=str(mark))
    on.until(driver, 1)  # Ray gives up a connection that a jump seems to make too slow
    mark.touch()
    on.until(driver, 25)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    driver = on.start("--executor", "inline", LD_PRELOAD=str(library))
    text, _ = driver.communicate(timeout=LONGEST)
    expect(driver.returncode == 0, str(text))
    return 2
