/* Residency on the simulated devices: random programs beside a plain array, without a fault.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "residency_fixture.h"

Suite *residency_random_suite(void);

/* ----------------------------------------------------------------------------------------- random use, no faults --- */

static uint64_t random_state;
static uint32_t draw(uint32_t below) /* splitmix64 */
{
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ (z >> 31)) % below);
}

#define FIELD_WORDS (5 * PAGE / WORD)

typedef struct field {
    eum_buffer *buffer;
    uint32_t model[FIELD_WORDS];
} field;

static eum_view random_view(field *f, size_t *out_first, size_t *out_count)
{
    *out_first = draw(FIELD_WORDS);
    *out_count = 1 + draw((uint32_t)(FIELD_WORDS - *out_first));
    if (draw(3) == 0) { /* whole pages */
        *out_first = draw(4) * (PAGE / WORD);
        *out_count = PAGE / WORD * (1 + draw(2));
    }
    if (*out_count > FIELD_WORDS - *out_first)
        *out_count = FIELD_WORDS - *out_first;
    return part(f->buffer, *out_first * WORD, *out_count * WORD);
}

static void check_field(const field *f, const uint32_t *words, size_t first, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (words[i] != f->model[first + i])
            ck_abort_msg("word %zu is %08x instead of %08x", first + i, words[i], f->model[first + i]);
}

static void random_step(eum_stream **streams, field *f)
{
    size_t first, count;
    eum_view view = random_view(f, &first, &count);
    eum_stream *stream = streams[draw(3)];
    uint32_t value = draw(1000);
    uint32_t *words;
    switch (draw(10)) {
    case 0:
        cpu_fill(view, value);
        fill_words(f->model + first, count, value);
        break;
    case 1:
        words = map(view, EUM_ACCESS_READ_WRITE);
        check_field(f, words, first, count);
        words[0] = f->model[first] = value;
        words[count - 1] = f->model[first + count - 1] = value;
        unmap(f->buffer, words);
        break;
    case 2:
        words = map(view, EUM_ACCESS_READ);
        check_field(f, words, first, count);
        launch1(stream, (work){.kind = WORK_NOTHING}, reads(whole(f->buffer)));
        unmap(f->buffer, words);
        break;
    case 3:
        launch1(stream, (work){.kind = WORK_FILL, .value = value}, overwrites(view));
        fill_words(f->model + first, count, value);
        break;
    case 4:
        launch1(stream, (work){.kind = WORK_ADD, .value = value}, updates(view));
        for (size_t i = 0; i < count; i++)
            f->model[first + i] += value;
        break;
    case 5:
        launch1(stream, (work){.kind = WORK_NOTHING}, reads(view));
        break;
    case 6:
        words = malloc(count * WORD);
        fill_words(words, count, value);
        OK(eum_buffer_write(view, words));
        memcpy(f->model + first, words, count * WORD);
        free(words);
        break;
    case 7:
        words = malloc(count * WORD);
        OK(eum_buffer_read(view, words));
        check_field(f, words, first, count);
        free(words);
        break;
    case 8:
        OK(eum_buffer_prefetch(view, draw(2) == 0 ? EUM_LOCATION_HOST : 0, stream));
        break;
    default:
        if (draw(2) == 0)
            OK(eum_buffer_set_role(f->buffer, (eum_role)draw(5)));
        else
            OK(eum_buffer_advise(view, (eum_advice)(1 + draw(6)), draw(2) == 0 ? EUM_LOCATION_HOST : 0, NULL));
    }
}

START_TEST(random_programs_over_three_streams_agree_with_the_model_and_never_fault)
{
    static field f;
    for (uint64_t program = 0; program < 30; program++) {
        random_state = program * 100 + (uint64_t)_i;
        eum_context *context = open_setup(_i);
        eum_stream *streams[3] = {default_stream(context), new_stream(context), new_stream(context)};
        f.buffer = new_buffer(context, FIELD_WORDS * WORD);
        cpu_fill(whole(f.buffer), 1);
        fill_words(f.model, FIELD_WORDS, 1);
        for (int step = 0; step < 40; step++)
            random_step(streams, &f);
        const uint32_t *words = map(whole(f.buffer), EUM_ACCESS_READ);
        check_field(&f, words, 0, FIELD_WORDS);
        for (int i = 1; i < 3; i++)
            OK(eum_stream_destroy(streams[i]));
        OK(eum_buffer_destroy(f.buffer));
        char text[512];
        uint64_t violations = eum_sim_violations(device_of(context), text, sizeof text);
        ck_assert_msg(violations == 0, "program %d: %s", (int)program, text);
        eum_sim_counters c;
        ck_assert(eum_sim_counters_get(device_of(context), &c));
        ck_assert_msg(c.gpu_faults_in_kernels == 0, "program %d: %d faults in kernels", (int)program, (int)c.gpu_faults_in_kernels);
        close_context(context);
    }
}
END_TEST

Suite *residency_random_suite(void)
{
    Suite *suite = suite_create("residency_random");
    TCase *tests = tcase_create("residency_random");
    if (!runs_cpu_kernels())
        return suite;
    tcase_add_loop_test(tests, random_programs_over_three_streams_agree_with_the_model_and_never_fault, 0, SETUPS);
    suite_add_tcase(suite, tests);
    return suite;
}
