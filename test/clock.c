/*
 * clock.c
 *		Moves the clocks of a test server: a library for LD_PRELOAD.
 *
 * The file named by GATEWAY_POOL_TEST_CLOCK holds two 64-bit numbers of
 * nanoseconds: the first is added to all clocks, as if time had passed, the second
 * to the wall clock alone, as if it had been set.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offsets;

__attribute__((constructor)) static void
open_offsets(void)
{
	const char *path = getenv("GATEWAY_POOL_TEST_CLOCK");
	int			fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	void	   *map;

	if (fd < 0)
		return;
	map = mmap(NULL, 2 * sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (map != MAP_FAILED)
		offsets = map;
}

static int
is_wall(clockid_t clock)
{
	return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
}

static int
is_moved(clockid_t clock)
{
	return is_wall(clock) || clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE ||
		clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_BOOTTIME;
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	int			result = syscall(SYS_clock_gettime, clock, now);

	if (result == 0 && offsets != NULL && is_moved(clock))
	{
		int64_t		moved = now->tv_nsec + offsets[0] + (is_wall(clock) ? offsets[1] : 0);
		int64_t		seconds = moved / 1000000000;

		moved %= 1000000000;
		if (moved < 0)
		{
			moved += 1000000000;
			seconds--;
		}
		now->tv_sec += seconds;
		now->tv_nsec = moved;
	}
	return result;
}

int
gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec precise;
	int			result = clock_gettime(CLOCK_REALTIME, &precise);

	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return result;
}

time_t
time(time_t *where)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (where != NULL)
		*where = now.tv_sec;
	return now.tv_sec;
}
