/*
 * tap.h
 *		Test Anything Protocol for the unit tests.
 */
#ifndef GATEWAY_POOL_TAP_H
#define GATEWAY_POOL_TAP_H

#include <stdarg.h>
#include <stdio.h>

/* The server's functions, which are not linked. */
#undef printf
#undef fprintf
#undef snprintf
#undef vprintf

static int	tap_count = 0;
static int	tap_failures = 0;

/* Makes one assertion; the description is a format for printf. */
static void
__attribute__((format(printf, 2, 3)))
ok(int condition, const char *description,...)
{
	va_list		arguments;

	tap_count++;
	tap_failures += !condition;
	printf("%s %d - ", condition ? "ok" : "not ok", tap_count);
	va_start(arguments, description);
	vprintf(description, arguments);
	va_end(arguments);
	putchar('\n');
}

/* Prints the plan; returns the result for main. */
static int
done(void)
{
	printf("1..%d\n", tap_count);
	return tap_failures != 0;
}

#endif							/* GATEWAY_POOL_TAP_H */
