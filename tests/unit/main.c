/* Runs the Check suites: all of them, or those that are named.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 *   eum-tests [--list] [SUITE ...]
 *
 * Check's environment variables work: CK_FORK=no, CK_RUN_CASE, CK_VERBOSITY=verbose, CK_DEFAULT_TIMEOUT. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suites.h"

#define DECLARE(name) Suite *name##_suite(void);
EUM_SUITES(DECLARE)

static const struct {
    const char *name;
    Suite *(*make)(void);
} suites[] = {
#define ENTRY(name) {#name, name##_suite},
    EUM_SUITES(ENTRY){NULL, NULL},
};

static size_t find_suite(const char *name)
{
    size_t i = 0;
    while (suites[i].name != NULL && strcmp(suites[i].name, name) != 0)
        i++;
    return i;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; suites[i].name != NULL; i++)
            puts(suites[i].name);
        return EXIT_SUCCESS;
    }
    /* Check's own 4 seconds are too few under emulation and sanitizers. Read when a test case is made. */
    setenv("CK_DEFAULT_TIMEOUT", "60", 0);

    SRunner *runner = srunner_create(NULL);
    if (argc < 2) {
        for (size_t i = 0; suites[i].name != NULL; i++)
            srunner_add_suite(runner, suites[i].make());
    }
    for (int a = 1; a < argc; a++) {
        size_t i = find_suite(argv[a]);
        if (suites[i].name == NULL) {
            fprintf(stderr, "no suite \"%s\"; --list names them\n", argv[a]);
            return EXIT_FAILURE;
        }
        srunner_add_suite(runner, suites[i].make());
    }
#ifdef EUM_TESTS_NO_FORK
    srunner_set_fork_status(runner, CK_NOFORK);
#endif
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    int ran = srunner_ntests_run(runner);
    srunner_free(runner);
    printf("%d tests ran, %d failed\n", ran, failed);
    return failed == 0 && ran > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
