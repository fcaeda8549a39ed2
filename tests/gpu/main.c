/* Runs the suites on a machine with a GPU: all of them, or those that are named.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 *   eum-gpu-tests [--list] [SUITE ...]
 *
 * Each test runs in a process of its own, which starts CUDA itself. Check's environment variables work. Counting page faults takes libcupti
 * (EUM_CUPTI=FILE where it is not found by itself). */
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

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; suites[i].name != NULL; i++)
            puts(suites[i].name);
        return EXIT_SUCCESS;
    }
    setenv("CK_DEFAULT_TIMEOUT", "60", 0);
    setvbuf(stdout, NULL, _IOLBF, 0);
    SRunner *runner = srunner_create(NULL);
    for (size_t i = 0; suites[i].name != NULL; i++) {
        int wanted = argc < 2;
        for (int a = 1; a < argc; a++)
            wanted = wanted || strcmp(argv[a], suites[i].name) == 0;
        if (wanted)
            srunner_add_suite(runner, suites[i].make());
    }
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    int ran = srunner_ntests_run(runner);
    srunner_free(runner);
    printf("%d tests ran, %d failed\n", ran, failed);
    return failed == 0 && ran > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
