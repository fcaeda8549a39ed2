#include <engram_um.h>
#include <stdio.h>

#define ALL(buffer) {buffer, 0, EUM_WHOLE_SIZE}

int main(void)
{
    const float rows[3][4] = {{1, 0, 0, 0}, {0, 1, 0, 0}, {3, 1, 0, 0}}, query[4] = {1, 1, 0, 0};
    eum_context *ctx;
    eum_stream *stream;
    eum_buffer *q, *t, *s;
    float *scores;
    if (eum_context_create(NULL, &ctx) || eum_context_default_stream(ctx, &stream) || /* the best this machine has */
        eum_buffer_create(ctx, sizeof query, NULL, &q) || eum_buffer_write((eum_view)ALL(q), query) ||
        eum_buffer_create(ctx, sizeof rows, NULL, &t) || eum_buffer_write((eum_view)ALL(t), rows) ||
        eum_buffer_create(ctx, 3 * sizeof(float), NULL, &s) ||
        eum_cosine(stream, &(eum_cosine_config){sizeof(eum_cosine_config), ALL(q), ALL(t), ALL(s), 3, 4, 0, 0, 0, NULL}, NULL) ||
        eum_buffer_map((eum_view)ALL(s), EUM_ACCESS_READ, (void **)&scores)) { /* waits for the kernel, and for nothing else */
        eum_error error = EUM_ERROR_INIT;
        eum_last_error(&error);
        return fprintf(stderr, "%s: %s\n", eum_status_name(error.status), error.sentence), 1;
    }
    printf("%.4f %.4f %.4f\n", scores[0], scores[1], scores[2]);
    return eum_buffer_destroy(q) || eum_buffer_destroy(t) || eum_buffer_destroy(s) || eum_context_destroy(ctx);
}
