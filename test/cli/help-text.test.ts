import test from 'ava';
import { helpColumns, wrapHelp } from '../../src/cli/help-text.js';

test('help is as wide as the terminal, within what can be read, and 80 columns where there is none', (t) => {
  t.deepEqual(
    [undefined, 0, 20, 60, 80, 100, 300].map((columns) => helpColumns({ columns })),
    [80, 80, 40, 60, 80, 100, 110],
  );
});

test('paragraphs are filled anew; titles, empty lines and commands stay', (t) => {
  const text = '\nOne two three\nfour five.\n\nExample:\n  pcache mount a b c --with more than there is room for';
  t.is(wrapHelp(text, 14), '\nOne two three\nfour five.\n\nExample:\n  pcache mount a b c --with more than there is room for');
  t.is(wrapHelp(text, 40).split('\n')[1], 'One two three four five.');
});

test('the second column of a table is wrapped below itself, wherever its lines were broken', (t) => {
  const text = 'Options:\n  one      what one does, in\n           two lines\n  another  short';
  t.is(wrapHelp(text, 26), 'Options:\n  one      what one does,\n           in two lines\n  another  short');
  t.is(wrapHelp(text, 80), 'Options:\n  one      what one does, in two lines\n  another  short');
});

test('where the first column takes most of the width the second begins below it', (t) => {
  t.is(wrapHelp('  transport=dev-fuse|libfuse  how to speak to it', 40), '  transport=dev-fuse|libfuse\n      how to speak to it');
});

test('a word that is too long is left whole', (t) => {
  t.is(wrapHelp('see https://example.org/a/b here', 10), 'see\nhttps://example.org/a/b\nhere');
});
