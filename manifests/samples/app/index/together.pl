# Which products do customers buy together? Reads the orders by customer; writes product, other product, similarity.
use strict;
use warnings;

my (%baskets, %pairs, $current, %basket);

sub count_basket {
    my @products = sort { $a <=> $b } keys %basket;
    for my $one (@products) {
        $baskets{$one}++;
        for my $other (@products) {
            next if $one >= $other;
            # A customer who buys much of everything says less about taste than one who buys two things.
            $pairs{"$one\t$other"} += ($basket{$one} * $basket{$other})**0.5 / @products;
        }
    }
    %basket = ();
}

while (<>) {
    chomp;
    my (undef, $customer, $day, $product, $count) = split /,/;
    my $key = $customer . '/' . int($day / 14);
    if (defined $current && $key ne $current) { count_basket() }
    $current = $key;
    $basket{$product} += $count;
}
count_basket();

for my $pair (sort keys %pairs) {
    my ($one, $other) = split /\t/, $pair;
    my $similarity = $pairs{$pair} / sqrt($baskets{$one} * $baskets{$other});
    printf "%d\t%d\t%.5f\n%d\t%d\t%.5f\n", $one, $other, $similarity, $other, $one, $similarity;
}
