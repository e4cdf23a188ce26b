# Draws the files pick, health and event of a directory into failover.svg beside them:
#   gnuplot -e "directory = '...'; seconds = N" test/picture/plot.gp
set terminal svg size 960, 470 font 'sans-serif,14' background '#ffffff'
set output directory . '/failover.svg'
set datafile separator '|'
set multiplot

set xrange [0:seconds]
set grid xtics lc '#e4e4e4'
set tics nomirror scale 0 tc '#333333'
set border 1 lc '#888888'
set lmargin 13
set rmargin 3
unset key

event = directory . '/event'
pick = directory . '/pick'
health = directory . '/health'

# Which gateway each pick returned.
set tmargin at screen 0.86
set bmargin at screen 0.47
set yrange [3.5:-1.2]
set ytics ('gateway-1' 1, 'gateway-2' 2, 'gateway-3' 3, 'no gateway' 0)
set format x ''
set label 1 'Which gateway is picked, ten picks a second' at graph 0, screen 0.965 font ',16'
plot event using 1:(3.5):(0):(-3.9) with vectors nohead lw 1 dt 2 lc '#888888', \
     event using 1:(-0.8):2 with labels center font ',12' tc '#333333', \
     pick using 1:2 with points pt 7 ps 0.35 lc '#1f5fa8'

# Status, as gateway_pool_members shows it.
set tmargin at screen 0.36
set bmargin at screen 0.1
set yrange [3.5:0.5]
set format x '%g s'
set label 1 'Status of each' at graph 0, screen 0.405 font ',16'
set label 2 'healthy' at screen 0.68, 0.405 tc '#2e9e5b'
set label 3 'degraded' at screen 0.77, 0.405 tc '#b58700'
set label 4 'unhealthy' at screen 0.88, 0.405 tc '#d64545'
set style fill solid noborder
plot health using 1:3:1:2:($3 - 0.3):($3 + 0.3):4 with boxxyerror lc rgb variable, \
     event using 1:(3.5):(0):(-3) with vectors nohead lw 1 dt 2 lc '#444444'
unset multiplot
